// A good plugin's bytes, and what to change in them: most faults of the byte stage are made here, not compiled.
#pragma once

#include <elf.h>
#include <espalier/abi.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace esp::test {

std::filesystem::path fixture(const std::string& name);  // lib<name>.so

class PluginBytes {
 public:
  PluginBytes();  // of fixture("toy")

  std::vector<std::byte> bytes;

  Elf64_Ehdr& header();
  Elf64_Phdr& segment(uint32_t type, size_t index = 0);  // the index-th of that type
  esp_note_record& note();
  // Replaces every occurrence of a text by one of the same length.
  void replace(std::string_view from, std::string_view to);
  std::filesystem::path write(const std::filesystem::path& path) const;
};

// An empty folder that goes away with this.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view content) const;

 private:
  std::filesystem::path path_;
};

// An environment variable that has its old value again when this goes. Null: unset.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value);
  ~ScopedVariable();
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  std::string name_, old_;
  bool was_set_;
};

// Runs `action`, which must throw LoadError `number` with `part` in its text, on one line.
template <class Action>
void expect_refusal(int number, std::string_view part, Action action);

}  // namespace esp::test

#include <gtest/gtest.h>

#include "modules/load_error.hpp"

template <class Action>
void esp::test::expect_refusal(int number, std::string_view part, Action action) {
  try {
    action();
    ADD_FAILURE() << "accepted, but L" << number << " was expected";
  } catch (const LoadError& error) {
    EXPECT_EQ(error.number(), number) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
  }
}
