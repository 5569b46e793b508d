// host doctor: looks at everything a run needs, one line each, and says what to do about what is missing.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/machine_memory.hpp"
#include "error.hpp"
#include "modules/libtorch.hpp"
#include "modules/module.hpp"
#include "modules/runtime_library.hpp"
#include "modules/search.hpp"
#include "report/number_text.hpp"
#include "supervisor/unique_fd.hpp"

namespace esp::cli {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

enum class Health { kOk, kWarn, kFail };

struct Finding {
  std::string subject;
  Health health = Health::kOk;
  std::string text;
};

const char* health_name(Health health) {
  return health == Health::kOk ? "ok" : health == Health::kWarn ? "warn" : "fail";
}

// The rest of the first line of a file that begins with `key`, or empty.
std::string line_after(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t value = line.find_first_not_of(" \t:", key.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

Finding check_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  std::string name = line_after("/proc/cpuinfo", "model name");
  if (name.empty()) name = "unknown CPU";
  const char* vectors = __builtin_cpu_supports("avx512f") ? "AVX-512"
                        : __builtin_cpu_supports("avx2")  ? "AVX2"
                                                          : nullptr;
  const std::string text =
      name + ", " + std::to_string(cores) + (cores == 1 ? " core" : " cores") + " for this process, ";
  if (vectors) return {"cpu", Health::kOk, text + vectors};
  return {"cpu", Health::kWarn, text + "neither AVX2 nor AVX-512: training works, slowly"};
}

Finding check_memory() {
  const uint64_t bytes = available_memory();
  if (bytes == UINT64_MAX) return {"memory", Health::kWarn, "cannot be read from /proc/meminfo"};
  const std::string text = rounded_bytes_text(bytes) + " available";
  if (bytes >= 2 * kGiB) return {"memory", Health::kOk, text};
  return {"memory", Health::kWarn, text + "; two ranks of vit-tiny want about 2 GiB: close programs, or use --nproc=1"};
}

Finding check_disk() {
  std::error_code ignored;
  const std::filesystem::path out = std::filesystem::absolute("out", ignored);
  const std::filesystem::path folder = std::filesystem::is_directory(out, ignored) ? out : out.parent_path();
  if (access(folder.c_str(), W_OK) != 0) {
    return {"disk", Health::kWarn, folder.string() + " cannot be written: change the folder, or give every run --out"};
  }
  struct statvfs disk {};
  if (statvfs(folder.c_str(), &disk) != 0) {
    return {"disk", Health::kWarn, folder.string() + ": " + std::strerror(errno)};
  }
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  const std::string text = rounded_bytes_text(free) + " free for " + out.string();
  if (free >= kGiB) return {"disk", Health::kOk, text};
  return {"disk", Health::kWarn, text + "; a trained vit-base takes 330 MiB: free space, or use --out on another disk"};
}

Finding check_libtorch() {
  const LibTorch& torch = find_libtorch();
  return {"libtorch", Health::kOk, torch.stamp() + " in " + torch.folder.string()};
}

Finding check_runtime() {
  const std::string stamp = load_runtime().torch_stamp();
  if (stamp == find_libtorch().stamp())
    return {"runtime", Health::kOk, runtime_library_path().string() + ", built with " + stamp};
  return {"runtime", Health::kWarn, "built with LibTorch " + stamp + ", runs with " + find_libtorch().stamp()};
}

std::string kind_name(uint32_t kind) {
  return kind == ESP_STRATEGY  ? "strategy"
         : kind == ESP_MODEL   ? "model"
         : kind == ESP_DATASET ? "dataset"
                               : "component";
}

Finding check_plugin(const std::string& file) {
  const Module& module = load_module(file, Probe::kChild);
  std::string text = module.version;
  for (const ModuleComponent* component : module.components) {
    text += ", " + kind_name(component->component.kind) + " " + component->component.id;
  }
  return {file, Health::kOk, text};
}

using CuInit = int (*)(unsigned);
using CuDeviceGetCount = int (*)(int*);

Finding check_nvidia() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never closed: a driver may have started threads
  if (!driver) return {"nvidia", Health::kOk, "no driver (libcuda.so.1): training runs on the CPU"};
  const auto init = reinterpret_cast<CuInit>(dlsym(driver, "cuInit"));
  const auto count_devices = reinterpret_cast<CuDeviceGetCount>(dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  const int status = init && count_devices ? init(0) : -1;
  if (status != 0 || count_devices(&count) != 0) {
    return {"nvidia", Health::kWarn,
            "the driver is there but does not start (CUDA error " + std::to_string(status) +
                "): see nvidia-smi; training runs on the CPU"};
  }
  return {"nvidia", Health::kOk, std::to_string(count) + (count == 1 ? " GPU" : " GPUs")};
}

// Ranks of one machine meet on the loopback: one listens, the others connect.
Finding check_loopback() {
  const UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (bind(server.get(), generic, size) == 0 && listen(server.get(), 1) == 0 &&
      getsockname(server.get(), generic, &size) == 0 && connect(client.get(), generic, size) == 0) {
    return {"loopback", Health::kOk, "ranks can meet on 127.0.0.1"};
  }
  return {"loopback", Health::kFail,
          std::string("ranks cannot meet on 127.0.0.1: ") + std::strerror(errno) + "; bring the interface lo up"};
}

// Without these nothing trains.
constexpr const char* kNeeded[] = {"libddp.so", "libddp_fp16.so", "libzero.so", "libgemini.so", "libvit.so"};

// The needed libraries, though their files may be missing, and all others of the installation.
std::vector<std::string> plugin_files() {
  std::vector<std::string> files(std::begin(kNeeded), std::end(kNeeded));
  for (const auto& folder : plugin_folders()) {
    for (const std::string& file : shared_libraries_in(folder)) {
      if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
    }
  }
  return files;
}

Finding guarded(const std::string& subject, const std::function<Finding()>& check) {
  try {
    return check();
  } catch (const std::exception& error) {
    return {subject, Health::kFail, error.what()};
  }
}

std::vector<Finding> examine() {
  std::vector<Finding> findings = {
      guarded("cpu", check_cpu),           guarded("memory", check_memory),     guarded("disk", check_disk),
      guarded("loopback", check_loopback), guarded("libtorch", check_libtorch),
  };
  if (findings.back().health == Health::kOk) findings.push_back(guarded("runtime", check_runtime));
  for (const std::string& file : plugin_files()) {
    findings.push_back(guarded(file, [&] { return check_plugin(file); }));
    const bool needed = std::find(std::begin(kNeeded), std::end(kNeeded), file) != std::end(kNeeded);
    if (!needed && findings.back().health == Health::kFail) findings.back().health = Health::kWarn;
  }
  findings.push_back(guarded("nvidia", check_nvidia));
  return findings;
}

void print_text(std::ostream& out, const std::vector<Finding>& findings, bool healthy) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.subject.size());
  for (const auto& [subject, health, text] : findings) {
    const std::string mark = health_name(health);
    out << mark << std::string(6 - mark.size(), ' ') << subject << std::string(width + 2 - subject.size(), ' ') << text
        << "\n";
  }
  out << (healthy ? "Training on the CPU can work.\n"
                  : "Training cannot work until what is marked 'fail' is put right.\n");
}

void print_json(std::ostream& out, const std::vector<Finding>& findings, bool healthy) {
  using Json = nlohmann::ordered_json;
  Json checks = Json::array();
  for (const auto& [subject, health, text] : findings) {
    checks.push_back({{"subject", subject}, {"status", health_name(health)}, {"text", text}});
  }
  const Json all = {{"healthy", healthy}, {"checks", checks}};
  out << all.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

}  // namespace

int doctor(std::ostream& out, bool json) {
  const std::vector<Finding> findings = examine();
  const bool healthy =
      std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.health == Health::kFail; });
  if (json) {
    print_json(out, findings, healthy);
  } else {
    print_text(out, findings, healthy);
  }
  return static_cast<int>(healthy ? ExitCode::kOk : ExitCode::kResource);
}

}  // namespace esp::cli
