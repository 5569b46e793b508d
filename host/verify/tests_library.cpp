// Group library: what is seen before any instance exists.
#include <dlfcn.h>

#include <cstring>
#include <filesystem>

#include "modules/elf_reader.hpp"
#include "modules/mapped_file.hpp"
#include "modules/process_state.hpp"
#include "verify/test_case.hpp"

namespace esp::verify {
namespace {

Where entry_call() {
  Where where;
  where.call = ESP_ENTRY_SYMBOL;
  return where;
}

esp_entry_fn entry_of(const Module& module) {
  void* library = dlopen(module.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  return library == nullptr ? nullptr : reinterpret_cast<esp_entry_fn>(dlsym(library, ESP_ENTRY_SYMBOL));
}

esp_hello hello() { return {sizeof(esp_hello), ESP_ABI_MAJOR, ESP_ABI_MINOR, 0, ESP_SDK_HASH, "verify"}; }

void refuses(const Module& module, Findings& findings, const esp_hello& hello, const char* what) {
  const esp_plugin* plugin = nullptr;
  esp_error error{};
  error.struct_size = sizeof error;
  const esp_status status = entry_of(module)(&hello, &plugin, &error);
  if (status == ESP_OK) {
    findings.add("LIB-02", std::string("the entry accepts a hello with ") + what, entry_call());
  } else if (error.message[0] == '\0') {
    findings.add("LIFE-02", std::string("no text for a hello with ") + what, entry_call());
  }
}

size_t entries_of(const char* folder) {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++n;
  return n;
}

void enters_twice(const Module& module, Findings& findings) {
  const esp_hello greeting = hello();
  const ProcessState before = ProcessState::now();
  const size_t threads = entries_of("/proc/self/task"), files = entries_of("/proc/self/fd");
  const esp_plugin* answers[2] = {};
  for (const esp_plugin*& answer : answers) {
    esp_error error{};
    error.struct_size = sizeof error;
    if (entry_of(module)(&greeting, &answer, &error) != ESP_OK) findings.add("LIB-04", error.message, entry_call());
  }
  if (answers[0] != answers[1]) findings.add("LIB-04", "the second call gives another answer", entry_call());
  const std::string changes = before.changes(ProcessState::now());
  if (!changes.empty()) findings.add("LIB-05", changes, entry_call());
  if (threads != entries_of("/proc/self/task")) findings.add("LIB-05", "a thread was started", entry_call());
  if (files != entries_of("/proc/self/fd")) findings.add("LIB-05", "a file was opened", entry_call());
}

void tables(const Module& module, Findings& findings) {
  for (const ModuleComponent* component : module.components) {
    const auto table = component->component.table;
    Where where;
    where.call = "table";
    for (const char* id : {"", "esp.nothing/0", "esp.strategy/00", "esp.strategy", "esp.model/0x", "esp.dataset/0 "}) {
      if (table(id) != nullptr) findings.add("LIB-03", std::string("a table for \"") + id + "\"", where);
    }
  }
}

void symbols(const Module& module, Findings& findings) {
  const MappedFile file(module.path);
  for (const ElfSymbol& symbol : ElfReader(file.bytes(), module.path.string()).exported()) {
    if (symbol.name != ESP_ENTRY_SYMBOL) findings.add("LIB-06", "it exports " + symbol.name, {});
  }
}

}  // namespace

std::vector<TestCase> library_tests(const Module& module) {
  const auto hostile = [&](const char* what, auto change) {
    return [&module, what, change](Findings& findings) {
      esp_hello greeting = hello();
      change(greeting);
      refuses(module, findings, greeting, what);
    };
  };
  return {
      {"library", "entry-twice", [&](Findings& f) { enters_twice(module, f); }, ""},
      {"library", "other-major", hostile("another ABI major", [](esp_hello& h) { h.abi_major = 2; }), ""},
      {"library", "tiny-hello", hostile("struct_size 4", [](esp_hello& h) { h.struct_size = 4; }), ""},
      {"library", "other-hash", hostile("another SDK hash", [](esp_hello& h) { h.sdk_hash ^= 1; }), ""},
      {"library", "unknown-tables", [&](Findings& f) { tables(module, f); }, ""},
      {"library", "exported-symbols", [&](Findings& f) { symbols(module, f); }, ""},
  };
}

}  // namespace esp::verify
