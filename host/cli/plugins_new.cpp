// host plugins new KIND NAME [DIR]: a project that builds, verifies and runs as it is, out of share/espalier/template.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"
#include "modules/search.hpp"

namespace esp::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 40;  // id, library and class name fit into the note of the file

// The spellings of one name: "my-plan" is my_plan as file and target, MyPlan as class.
struct Names {
  std::string id, file, type;
};

// Words of the C++ language and of CMake that are no names of a file's class or target.
constexpr const char* kTaken[] = {"all",     "clean", "help",     "install", "test",
                                  "package", "esp",   "espalier", "options", "layers"};

Names names_of(const std::string& id) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_allowed = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  if (id.empty() || id.size() > kLongestName || !is_letter(id[0]) || !std::all_of(id.begin(), id.end(), is_allowed)) {
    throw Error(ExitCode::kUsage, quoted(id) + " is no name for a plugin: up to " + std::to_string(kLongestName) +
                                      " of a-z, 0-9, _ and -, a letter first");
  }
  if (std::find(std::begin(kTaken), std::end(kTaken), id) != std::end(kTaken)) {
    throw Error(ExitCode::kUsage, quoted(id) + " means something to CMake or to the template; take another name");
  }
  Names names{id, id, ""};
  std::replace(names.file.begin(), names.file.end(), '-', '_');
  bool at_start = true;
  for (const char c : names.file) {
    if (c != '_') names.type += at_start ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    at_start = c == '_';
  }
  return names;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in)
    throw Error(ExitCode::kResource, path.string() + " cannot be read: is the SDK installed beside this program?");
  return text.str();
}

std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [token, value] : values) {
    for (size_t at = 0; (at = text.find(token, at)) != std::string::npos; at += value.size()) {
      text.replace(at, token.size(), value);
    }
  }
  return text;
}

void write_file(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw Error(ExitCode::kResource, path.string() + " cannot be written");
}

void check_kind(const std::string& kind) {
  const std::vector<std::string> kinds{"strategy", "model", "dataset"};
  if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return;
  const std::string near = nearest_name(kind, kinds);
  throw Error(ExitCode::kUsage, quoted(kind) + " is not one of strategy, model, dataset" +
                                    (near.empty() ? "" : "; did you mean " + near + "?"));
}

// Nothing of the user's is ever overwritten.
void check_folder(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return;
  if (!fs::is_directory(folder, ignored)) throw Error(ExitCode::kUsage, folder.string() + " exists and is no folder");
  if (!fs::is_empty(folder, ignored)) {
    throw Error(ExitCode::kUsage, folder.string() + " is not empty; name a new folder: host plugins new KIND NAME DIR");
  }
}

}  // namespace

int plugins_new(const std::string& kind, const std::string& name, const std::string& folder, std::ostream& out) {
  check_kind(kind);
  const Names names = names_of(name);
  const fs::path to = folder.empty() ? fs::path(names.file) : fs::path(folder);
  check_folder(to);
  const fs::path from = executable_folder() / "../share/espalier/template";
  const bool needs_torch = kind == "model";
  const std::vector<std::pair<std::string, std::string>> values = {
      {"@name@", names.file},
      {"MyPlugin", names.type},
      {"@id@", names.id},
      {"@components@", needs_torch ? " COMPONENTS Torch" : ""},
      {"@torch@", needs_torch ? " TORCH exact" : ""}};
  const std::vector<std::pair<std::string, std::string>> files = {{kind + "/plugin.cpp", names.file + ".cpp"},
                                                                  {kind + "/run.toml", "run.toml"},
                                                                  {kind + "/README.md", "README.md"},
                                                                  {"CMakeLists.txt", "CMakeLists.txt"},
                                                                  {"gitignore", ".gitignore"},
                                                                  {"workflow.yml", ".github/workflows/plugin.yml"}};
  std::vector<std::string> texts;  // all of them before the first is written
  for (const auto& [source, target] : files) texts.push_back(filled(read_file(from / source), values));
  try {
    for (size_t i = 0; i < files.size(); ++i) write_file(to / files[i].second, texts[i]);
  } catch (const fs::filesystem_error& error) {
    throw Error(ExitCode::kResource, error.what());
  }
  const fs::path prefix = fs::weakly_canonical(executable_folder() / "..");
  out << "wrote " << to.string() << ": " << names.file << ".cpp, CMakeLists.txt, run.toml, README.md\n\n"
      << "  cd " << to.string() << "\n  cmake -S . -B build -DCMAKE_PREFIX_PATH=" << prefix.string()
      << " && cmake --build build\n  host verify --plugin=./build/lib" << names.file << ".so\n  host run -c run.toml\n";
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace esp::cli
