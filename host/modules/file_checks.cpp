#include "modules/file_checks.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "modules/libtorch.hpp"
#include "modules/load_error.hpp"
#include "modules/mapped_file.hpp"

namespace esp {
namespace {

constexpr size_t kNamesShown = 3;

std::string version(uint32_t major, uint32_t minor) { return std::to_string(major) + "." + std::to_string(minor); }

void check_abi(const esp_note& note, const std::string& path, const HostAbi& host) {
  const std::string major = std::to_string(note.abi_major);
  if (note.abi_major != host.major) {
    throw LoadError(14, path,
                    "built for ABI " + major + ", this host speaks " + std::to_string(host.major) +
                        "; get a build of it for this host");
  }
  if (note.abi_minor_needed > host.minor) {
    throw LoadError(15, path,
                    "needs ABI " + version(note.abi_major, note.abi_minor_needed) + ", this host has " +
                        version(host.major, host.minor) + "; update the host");
  }
  if (note.abi_minor_built < host.minor_floor) {
    throw LoadError(16, path,
                    "built for ABI " + version(note.abi_major, note.abi_minor_built) + ", this host honours " +
                        version(host.major, host.minor_floor) + " and up; build it again");
  }
  if (host.draft && note.sdk_hash != host.sdk_hash) {
    throw LoadError(19, path,
                    "built with other SDK headers than this host's, and the ABI is a draft whose tables still "
                    "move; build it again with the headers of this host");
  }
}

void check_entry_symbol(const PluginFile& file, const std::string& path) {
  if (std::find(file.exported.begin(), file.exported.end(), ESP_ENTRY_SYMBOL) == file.exported.end()) {
    throw LoadError(17, path,
                    "exports no " ESP_ENTRY_SYMBOL
                    "; a version script or hidden visibility removed it, or it "
                    "was never defined");
  }
}

// The versions that a library mapped into this process offers; empty when it is not mapped.
std::vector<std::string> versions_offered(const std::string& library) {
  const std::vector<std::string> paths = mapped_files(library);
  if (paths.empty()) return {};
  const MappedFile file(paths.front());
  return ElfReader(file.bytes(), paths.front()).version_definitions();
}

// The newest version of the series that `version` belongs to ("GLIBC_2.36" for "GLIBC_2.38").
std::string newest_of_series(const std::string& version, const std::vector<std::string>& offered) {
  const std::string series = version.substr(0, version.find('_') + 1);
  std::string newest;
  for (const std::string& candidate : offered) {
    const bool numbered =
        candidate.size() > series.size() && std::isdigit(static_cast<unsigned char>(candidate[series.size()]));
    if (numbered && candidate.starts_with(series) && strverscmp(candidate.c_str(), newest.c_str()) > 0)
      newest = candidate;
  }
  return newest;
}

void check_version_needs(const PluginFile& file, const std::string& path) {
  std::map<std::string, std::vector<std::string>> offers;
  for (const VersionNeed& need : file.version_needs) {
    if (!offers.contains(need.library)) offers[need.library] = versions_offered(need.library);
    const auto& offered = offers[need.library];
    if (offered.empty() || std::find(offered.begin(), offered.end(), need.version) != offered.end()) continue;
    const std::string newest = newest_of_series(need.version, offered);
    const bool glibc = need.library.starts_with("libc.") || need.library.starts_with("libm.");
    throw LoadError(18, path,
                    "requires " + need.version + " of " + need.library + ", this system has " +
                        (newest.empty() ? "none of that series" : "up to " + newest) + "; " +
                        (glibc ? "build it on an older system"
                               : "link it with -static-libstdc++ -static-libgcc, "
                                 "or build it on an older system"));
  }
}

bool is_torch_library(const std::string& name) { return name.starts_with("libtorch") || name.starts_with("libc10"); }

// "2.11.0+cu130 cxx11" as version, tag and flags.
struct Stamp {
  std::string version, tag, flags;
};

Stamp parse_stamp(const std::string& text) {
  const size_t space = std::min(text.find(' '), text.size());
  const size_t plus = std::min(text.find('+'), space);
  return {text.substr(0, plus), text.substr(plus, space - plus), text.substr(space)};
}

bool version_at_least(const std::string& have, const std::string& need) {
  return strverscmp(have.c_str(), need.c_str()) >= 0;
}

[[noreturn]] void refuse_stamp(const std::string& path, const std::string& built, const std::string& here) {
  throw LoadError(20, path,
                  "built for torch " + (built.empty() ? "(no stamp)" : built) + ", this process has " + here +
                      "; build it with that LibTorch, or name the other one in ESPALIER_LIBTORCH");
}

std::vector<std::string> check_torch(const PluginFile& file, const std::string& path) {
  const uint32_t tier = file.note.torch_tier;
  if (tier > ESP_TORCH_EXACT) {
    throw LoadError(20, path,
                    "its use of torch (tier " + std::to_string(tier) + ") is unknown to this host; update the host");
  }
  if (tier == ESP_TORCH_NONE) {
    const auto torch = std::find_if(file.needed.begin(), file.needed.end(), is_torch_library);
    if (torch == file.needed.end()) return {};
    throw LoadError(20, path,
                    "says that it uses no torch, but needs " + *torch +
                        "; build it with espalier_add_plugin(... "
                        "TORCH exact)");
  }
  const LibTorch& libtorch = find_libtorch();
  const Stamp built = parse_stamp(file.note.torch_stamp), here = parse_stamp(libtorch.stamp());
  const bool fits = tier == ESP_TORCH_STABLE ? version_at_least(here.version, built.version) && !built.version.empty()
                                             : here.version == built.version && here.flags == built.flags;
  if (!fits) refuse_stamp(path, file.note.torch_stamp, libtorch.stamp());
  if (tier == ESP_TORCH_STABLE || built.tag == here.tag) return {};
  return {"L20 " + path + ": built for torch " + file.note.torch_stamp + ", this process has the same version as " +
          libtorch.stamp() + "; its CPU part fits"};
}

// "a, b, c and 7 more"
std::string shorten(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > kNamesShown ? " and " + std::to_string(names.size() - kNamesShown) + " more" : "");
}

void warn_of_exports(const PluginFile& file, const std::string& path, std::vector<std::string>& warnings) {
  std::vector<std::string> extra = file.exported;
  std::erase_if(extra, [](const std::string& name) {
    return name == ESP_ENTRY_SYMBOL || name == "_init" || name == "_fini" || name == "_edata" ||
           name == "__bss_start" || name == "_end";
  });
  if (!extra.empty()) {
    warnings.push_back("L22 " + path + ": exports more than its entry (" + shorten(extra) +
                       "), which may clash with another library; build it with espalier_add_plugin");
  }
  if (!file.unique_exports.empty()) {
    warnings.push_back("L22 " + path + ": has symbols that all libraries share whatever their scope (" +
                       shorten(file.unique_exports) + "); compile it with -fno-gnu-unique");
  }
}

}  // namespace

std::vector<std::string> check_plugin_file(const PluginFile& file, const std::string& path, const HostAbi& host) {
  check_abi(file.note, path, host);
  check_entry_symbol(file, path);
  check_version_needs(file, path);
  std::vector<std::string> warnings = check_torch(file, path);
  warn_of_exports(file, path, warnings);
  return warnings;
}

}  // namespace esp
