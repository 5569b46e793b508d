// Group datasets: what a data set delivers with the defaults of its options.
#include <espalier/dataset.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <latch>
#include <numeric>
#include <thread>

#include "modules/adopt.hpp"
#include "verify/settings.hpp"
#include "verify/test_case.hpp"

namespace esp::verify {
namespace {

constexpr uint64_t kBytes = 32 * 32 * 3;
constexpr uint64_t kGuard = 64;
constexpr char kGuardByte = 0x5a;

// Samples of one fetch, between guards.
struct Batch {
  std::vector<char> pixels, flips;
  std::vector<int64_t> labels;
  bool operator==(const Batch&) const = default;
};

// Data sets ask no host for more than a log, which may be absent.
const void* no_service(void*, const char*) { return nullptr; }

class Data {
 public:
  Data(const ModuleComponent& component, const VerifyOptions& options, Findings& findings)
      : findings_(findings), options_(option_values(component, options.values)) {
    run_.struct_size = sizeof run_;
    run_.mode = ESP_MODE_TRAIN;
    run_.world = 1;
    run_.device_kind = ESP_CPU;
    run_.n_micro = 1;
    run_.seed = options.seed;
    const auto values = options_.values();
    config_ = {sizeof config_, static_cast<uint32_t>(values.size()), values.data(), &run_, nullptr, 0, 0};
    table_ = adopt<esp_dataset_v1>(component.component.table(ESP_DATASET_ID));
    check("create", component.component.create(&host_, &config_, &self_, &error_));
    check("describe", table_.describe(self_, &desc_, &error_));
    check_description();
    n_ = std::min<uint64_t>(desc_->splits[0]->count, 24);
    prepare();
  }
  ~Data() {
    if (self_ != nullptr) table_.destroy(self_);
  }
  Data(const Data&) = delete;

  uint64_t size() const { return n_; }

  Batch fetch(const std::vector<uint64_t>& indices, uint64_t epoch, uint32_t flags) const {
    const uint64_t n = indices.size();
    Batch batch{std::vector<char>(n * kBytes + kGuard, kGuardByte), std::vector<char>(n + kGuard, kGuardByte),
                std::vector<int64_t>(n + 8, -7)};
    void* const out[] = {batch.pixels.data(), batch.flips.data(), batch.labels.data()};
    esp_error error{};
    error.struct_size = sizeof error;
    const esp_status status =
        table_.fetch(self_, 0, epoch, indices.data(), static_cast<uint32_t>(n), flags, out, &error);
    if (status != ESP_OK) throw Skip{std::string("fetch failed: ") + error.message};
    return batch;
  }

  void check_output(const Batch& batch, uint64_t n) const {
    const Where where{"fetch"};
    const auto untouched = [](char c) { return c == kGuardByte; };
    const bool fits =
        std::all_of(batch.pixels.begin() + static_cast<std::ptrdiff_t>(n * kBytes), batch.pixels.end(), untouched) &&
        std::all_of(batch.flips.begin() + static_cast<std::ptrdiff_t>(n), batch.flips.end(), untouched) &&
        std::all_of(batch.labels.begin() + static_cast<std::ptrdiff_t>(n), batch.labels.end(),
                    [](int64_t l) { return l == -7; });
    if (!fits) findings_.add("DATA-04", "bytes behind the batch were written", where);
    for (uint64_t i = 0; i < n; ++i) {
      if (batch.labels[i] >= 0 && batch.labels[i] < static_cast<int64_t>(desc_->n_classes)) continue;
      findings_.add("DATA-05", "sample " + std::to_string(i) + " has label " + std::to_string(batch.labels[i]), where);
    }
  }

 private:
  void check(const char* call, esp_status status) const {
    if (status == ESP_OK) return;
    throw Skip{std::string(call) + " refuses the defaults: " + error_.message};
  }
  // All that it is told is gone when this returns.
  void prepare() {
    const int64_t sides[] = {32, 32, 3};
    const esp_field fields[] = {{sizeof(esp_field), ESP_U8, "pixels", sides, 3, 0},
                                {sizeof(esp_field), ESP_U8, "flip", nullptr, 0, 0},
                                {sizeof(esp_field), ESP_I64, "label", nullptr, 0, 0}};
    const esp_field* list[] = {&fields[0], &fields[1], &fields[2]};
    const uint32_t split = 0;
    const uint64_t limit = n_;
    const esp_dataset_run run = {sizeof run, 3, list, 1, 2, &split, &limit};
    check("prepare", table_.prepare(self_, &run, &error_));
  }
  void check_description() const {
    const Where where{"describe"};
    if (desc_ == nullptr || desc_->n_splits == 0 || desc_->splits == nullptr) {
      findings_.add("DATA-01", "it has no split", where);
      throw Skip{"no split"};
    }
    for (uint32_t i = 0; i < desc_->n_classes; ++i) {
      if (desc_->classes[i] == nullptr) findings_.add("DATA-01", "class " + std::to_string(i) + " has no name", where);
    }
  }

  Findings& findings_;
  OptionSet options_;
  esp_run run_{};
  esp_config config_{};
  esp_host host_{sizeof(esp_host), 0, nullptr, no_service};
  mutable esp_error error_{sizeof(esp_error), 0, 0, 0, "", ""};
  esp_dataset_v1 table_{};
  void* self_ = nullptr;
  const esp_dataset_desc* desc_ = nullptr;
  uint64_t n_ = 0;
};

std::vector<uint64_t> all_of(const Data& data) {
  std::vector<uint64_t> indices(data.size());
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

void is_a_function(const ModuleComponent& component, const VerifyOptions& options, Findings& findings) {
  const Data data(component, options, findings), other(component, options, findings);
  const Batch first = data.fetch(all_of(data), 3, 0);
  data.check_output(first, data.size());
  const Where where{"fetch"};
  if (first != data.fetch(all_of(data), 3, 0)) findings.add("DATA-02", "a second fetch gives another batch", where);
  if (first != other.fetch(all_of(data), 3, 0)) findings.add("DATA-02", "a second instance gives another batch", where);
  for (uint64_t i = data.size(); i-- > 0;) {
    const Batch one = data.fetch({i}, 3, 0);
    const bool equal = std::memcmp(one.pixels.data(), first.pixels.data() + i * kBytes, kBytes) == 0 &&
                       one.flips[0] == first.flips[i] && one.labels[0] == first.labels[i];
    if (!equal) findings.add("DATA-02", "sample " + std::to_string(i) + " fetched alone is another one", where);
  }
}

// The same fetch twice, on one thread: where that differs, nothing else tells anything.
bool repeats(const Data& data, uint64_t epoch, uint32_t flags, Findings& findings) {
  if (data.fetch(all_of(data), epoch, flags) == data.fetch(all_of(data), epoch, flags)) return true;
  findings.add("DATA-02", "a second fetch gives another batch", Where{"fetch"});
  return false;
}

void runs_on_threads(const ModuleComponent& component, const VerifyOptions& options, Findings& findings) {
  constexpr size_t kThreads = 4;
  constexpr int kRounds = 4;
  const Data data(component, options, findings);
  if (!repeats(data, 1, 0, findings)) return;
  std::vector<std::vector<uint64_t>> orders;
  std::vector<Batch> expected;
  for (size_t t = 0; t < kThreads; ++t) {
    orders.push_back(all_of(data));
    std::rotate(orders[t].begin(), orders[t].begin() + static_cast<std::ptrdiff_t>(t * data.size() / kThreads),
                orders[t].end());
    expected.push_back(data.fetch(orders[t], 1, 0));
  }
  std::atomic<int> wrong = 0;
  std::latch begin(kThreads);
  const auto fetch_again = [&](size_t t) {
    begin.arrive_and_wait();
    for (int round = 0; round < kRounds; ++round) wrong += data.fetch(orders[t], 1, 0) == expected[t] ? 0 : 1;
  };
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) threads.emplace_back(fetch_again, t);
  for (std::thread& thread : threads) thread.join();
  if (wrong > 0) findings.add("DATA-03", std::to_string(wrong) + " fetches gave another batch", Where{"fetch"});
}

void evaluates_plainly(const ModuleComponent& component, const VerifyOptions& options, Findings& findings) {
  const Data data(component, options, findings);
  if (!repeats(data, 0, ESP_FETCH_EVAL, findings)) return;
  const Batch first = data.fetch(all_of(data), 0, ESP_FETCH_EVAL);
  if (first != data.fetch(all_of(data), 5, ESP_FETCH_EVAL)) {
    findings.add("DATA-06", "another epoch gives another batch", Where{"fetch"});
  }
  if (std::any_of(first.flips.begin(), first.flips.begin() + static_cast<std::ptrdiff_t>(data.size()),
                  [](char c) { return c != 0; })) {
    findings.add("DATA-06", "a sample is flipped", Where{"fetch"});
  }
}

}  // namespace

std::vector<TestCase> dataset_tests(const ModuleComponent& component, const VerifyOptions& options) {
  return {
      {"datasets", "a-function-of-its-arguments",
       [&component, options](Findings& f) { is_a_function(component, options, f); }, ""},
      {"datasets", "on-threads", [&component, options](Findings& f) { runs_on_threads(component, options, f); }, ""},
      {"datasets", "evaluation", [&component, options](Findings& f) { evaluates_plainly(component, options, f); }, ""},
  };
}

}  // namespace esp::verify
