#include "bench/bench_options.hpp"

#include <algorithm>
#include <cstring>

#include "config/resolve.hpp"
#include "error.hpp"

namespace esp::bench {
namespace {

constexpr int64_t kSeedSteps = 20;

// Values of [bench] by key; absent ones are NULL.
class Values {
 public:
  explicit Values(const Settings& settings)
      : keys_(std::find_if(host_keys().begin(), host_keys().end(),
                           [](const KeyTable& table) { return table.name == "bench"; })
                  ->keys),
        set_(read_options(settings, "bench", keys_)) {}

  const esp_value* find(const char* key) const {
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (std::strcmp(keys_[i]->key, key) == 0) return set_.values()[i].type == 0 ? nullptr : &set_.values()[i];
    }
    throw Error(ExitCode::kInternal, std::string("no host key is called bench.") + key);
  }
  const esp_value& get(const char* key) const {
    if (const esp_value* value = find(key)) return *value;
    throw Error(ExitCode::kInternal, std::string("bench.") + key + " has no default");
  }

 private:
  const std::vector<const esp_option*>& keys_;
  OptionSet set_;
};

}  // namespace

const char* protocol_name(Protocol protocol) { return protocol == Protocol::kSeed ? "seed" : "honest"; }

int64_t BenchOptions::warmup_allowance() const { return warmup ? *warmup : std::clamp<int64_t>(steps / 2, 2, 10); }

int64_t BenchOptions::steps_to_run() const { return steps + warmup_allowance(); }

BenchOptions read_bench_options(const Settings& settings) {
  const Values values(settings);
  BenchOptions options;
  if (std::strcmp(values.get("protocol").v.s, "seed") == 0) options.protocol = Protocol::kSeed;
  if (const esp_value* warmup = values.find("warmup")) options.warmup = warmup->v.i;
  options.steps = values.get("steps").v.i;
  options.repeats = values.get("repeats").v.i;
  options.time_limit = std::chrono::milliseconds(static_cast<int64_t>(values.get("time_limit").v.f * 1e3));
  if (const esp_value* peak = values.find("peak_tflops")) options.peak_flops = peak->v.f * 1e12;
  if (const esp_value* compare = values.find("compare")) options.compare = compare->v.s;
  if (options.protocol == Protocol::kHonest) return options;
  const auto protocol = settings.find("bench.protocol");
  for (const char* key : {"bench.warmup", "bench.steps"}) {
    // A protocol that was given as a flag wins over a file.
    const bool of_file = settings.contains(key) && !settings.at(key).from_flag;
    if (settings.contains(key) && !(of_file && protocol->second.from_flag)) {
      throw Error(ExitCode::kUsage, settings.at(key).place.text + ": " + key +
                                        " contradicts bench.protocol = \"seed\", which runs 20 steps without warm-up");
    }
  }
  options.warmup = 0;
  options.steps = kSeedSteps;
  return options;
}

}  // namespace esp::bench
