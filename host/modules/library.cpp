#include "modules/library.hpp"

// library_info of Boost 1.74 forgets these.
#include <cxxabi.h>

#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "modules/answer_checks.hpp"
#include "modules/entry.hpp"
#include "modules/libtorch.hpp"
#include "modules/load_error.hpp"
#include "modules/process_state.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

using boost::dll::shared_library;

// The linker's own text out of Boost's, which reads "... (dlerror system message: PATH: TEXT): unrelated errno".
std::string linker_text(const std::string& boost_text, const std::string& path) {
  static constexpr std::string_view kBefore = "dlerror system message: ", kAfter = "): ";
  const size_t before = boost_text.find(kBefore), after = boost_text.rfind(kAfter);
  if (before == std::string::npos || after == std::string::npos || after < before) return boost_text;
  const size_t start = before + kBefore.size();
  const std::string text = boost_text.substr(start, after - start);
  return text.starts_with(path + ": ") ? text.substr(path.size() + 2) : text;
}

// The text with the missing symbol, if that is what it is about, as a person would write it.
std::string explain(const std::string& text) {
  static constexpr std::string_view kMarker = "undefined symbol: ";
  const size_t marker = text.find(kMarker);
  if (marker == std::string::npos) return text;
  const size_t start = marker + kMarker.size();
  const std::string symbol = text.substr(start, text.find_first_of(", \t\n", start) - start);
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status),
                                                         std::free);
  return text + (name ? ", which is " + std::string(name.get()) : "") +
         "; link the library that defines it, or its missing source";
}

// Handles outlive everything: nothing that a plugin handed out may ever dangle, destructors at exit included.
std::vector<shared_library>& handles() {
  static auto& kept = *new std::vector<shared_library>;
  return kept;
}

const shared_library& map(const std::filesystem::path& path) {
  try {
    using boost::dll::load_mode::type;
    handles().emplace_back(path,
                           static_cast<type>(boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local));
    return handles().back();
  } catch (const std::system_error& error) {
    throw LoadError(30, path.string(),
                    "cannot be loaded: " + one_line(explain(linker_text(error.what(), path.string()))));
  } catch (...) {
    throw LoadError(
        34, path.string(),
        "an exception escaped while it was loaded, from one of its static initialisers (" + describe_exception() + ")");
  }
}

void check_one_libtorch(const std::string& path) {
  for (const char* name : {"libc10.so", "libtorch_cpu.so", "libtorch_cuda.so"}) {
    const std::vector<std::string> files = mapped_files(name);
    if (files.size() > 1) {
      throw LoadError(60, path,
                      std::string("it brings a second ") + name + ": " + files[0] + " and " + files[1] +
                          " are both loaded; remove its own run path to torch");
    }
  }
}

}  // namespace

const esp_plugin& open_library(const std::filesystem::path& path, const PluginFile& file, const StageListener& stage) {
  const std::string name = path.string();
  const bool uses_torch = file.note.torch_tier != ESP_TORCH_NONE;
  if (uses_torch) load_libtorch();
  const ProcessState before = ProcessState::now();
  stage("its static initialisers");
  const shared_library& library = map(path);
  if (uses_torch) check_one_libtorch(name);
  stage(ESP_ENTRY_SYMBOL);
  const esp_plugin* plugin = call_entry(&library.get<std::remove_pointer_t<esp_entry_fn>>(ESP_ENTRY_SYMBOL), name);
  stage("the checks of what it offers");
  check_answer(plugin, name);
  const std::string changes = before.changes(ProcessState::now());
  if (!changes.empty()) throw LoadError(61, name, "loading it changed the state of the process: " + changes);
  return *plugin;
}

}  // namespace esp
