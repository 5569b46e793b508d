// Between the host and libespalier_runtime.so. Both come from one build, so C++ types may cross here; plugins never see
// it.
#pragma once

#include <espalier/dataset.h>
#include <espalier/model.h>
#include <espalier/strategy.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "error.hpp"

namespace esp::runtime {

// Where this process stands among the ranks, and how they meet.
struct RankFacts {
  int rank = 0;
  int world = 1;
  int local_rank = 0;
  int local_world = 1;
  std::string master_addr = "127.0.0.1";
  int master_port = 0;
  int listen_fd = -1;               // rank 0: an already listening socket for the store, or -1
  bool store_is_served = false;     // an agent serves the store: every rank is a client
  std::string store_prefix;         // separates runs and restarts that share a store
  std::string launcher = "single";  // single, supervisor, torchrun, slurm, openmpi, pmi
};

// A component that was loaded and whose options were validated. Pointers live until the process ends.
struct Instance {
  const esp_component* component = nullptr;  // the host's full-size copy
  std::vector<esp_value> values;             // one per option
  std::string library;                       // file name, for messages
};

enum class Task { kTrain, kEvaluate, kExport };

// Where a rank says what it is doing, for crash messages: see supervisor/phase.hpp. Without `name` nobody asks.
struct PhaseBoard {
  uint32_t (*name)(const char* text, bool in_plugin) = nullptr;  // [any thread] a number for enter; NULL: nobody asks
  std::atomic<uint32_t>& (*current)() = nullptr;                 // the calling thread's

  // What a thread was doing when it entered another phase.
  struct Before {
    std::atomic<uint32_t>* current = nullptr;
    uint32_t number = 0;

    void resume() const {
      if (current != nullptr) current->store(number, std::memory_order_relaxed);
    }
  };
  Before enter(uint32_t number) const {
    if (current == nullptr) return {};
    std::atomic<uint32_t>& mine = current();
    const Before before{&mine, mine.load(std::memory_order_relaxed)};
    mine.store(number, std::memory_order_relaxed);
    return before;
  }
  Before enter(const char* text, bool in_plugin) const {
    return name == nullptr ? Before() : enter(name(text, in_plugin));
  }
};

struct Job {
  Task task = Task::kTrain;
  RunConfig config;
  RankFacts ranks;
  Instance strategy, model, dataset;
  std::string model_folder;         // where the trained weights go; empty = nowhere. An existing, empty folder
  esp_dtype model_dtype = ESP_F32;  // of the weights written
  const volatile std::sig_atomic_t* stop = nullptr;  // becomes non-zero when the run shall end
  PhaseBoard phases;
};

struct Evaluation {
  std::string split;
  double loss = 0;       // mean over samples
  uint64_t correct = 0;  // k
  uint64_t samples = 0;  // of n
  std::vector<uint64_t> class_correct, class_samples;
};

struct StartReport {
  std::string model_name, data_name, device_name, precision, plugin;
  int world = 1;
  BatchPlan batch;
  int64_t epochs = 0, steps_per_epoch = 0, total_steps = 0;
  uint64_t train_samples = 0;
  uint64_t n_params = 0, n_trainable = 0;
  std::vector<std::string> classes;
  std::vector<std::string> notes;
};

struct StepReport {
  int64_t step = 0;  // 1-based count of steps done
  double epoch = 0;  // fraction of epochs done
  double loss = 0;   // mean over the step's samples, unscaled
  double lr = 0;     // used in this step
  double grad_norm = 0;
  double loss_scale = 1;
  bool skipped = false;
  uint64_t samples = 0;
  double step_ms =
      0;  // on the device's clock: from the end of the step before (or the start, after a pause) to its own end
  double data_wait_ms = 0;
};

struct EpochReport {
  int64_t epoch = 0;      // 1-based
  int64_t step = 0;       // steps done
  double train_loss = 0;  // mean over the epoch's samples
  double seconds = 0;     // training alone
  double samples_per_second = 0;
  std::optional<Evaluation> evaluation;
};

using TagBytes = std::array<uint64_t, ESP_N_TAGS>;

// Peak bytes by tag. Peaks need not coincide: of a tag, `both` may be less than `device` and `pinned` together.
struct MemoryByTag {
  TagBytes both{};    // places together
  TagBytes device{};  // with what the model takes beside the host's arenas
  TagBytes pinned{};
};

// What one rank would take: known before anything starts.
struct MemoryPlan {
  std::string strategy, model_name, precision;  // "libddp.so:ddp"
  BatchPlan batch;
  uint64_t n_params = 0;
  MemoryByTag by_tag;         // host arenas as the run will count them, and what the model says it will take beside
  uint64_t device_bytes = 0;  // peak, with what the model takes
  uint64_t pinned_bytes = 0;
  std::vector<std::string> notes;
};

struct MemoryReport {
  MemoryByTag by_tag;  // host arenas and what the model reports
  uint64_t peak_allocated_bytes = 0;
  uint64_t peak_device_bytes = 0;               // CPU: peak resident set
  std::optional<MemoryByTag> predicted_by_tag;  // what `host plan` says of this run
};

// Of one kind, in all training steps together.
struct CollectiveReport {
  uint64_t calls = 0;
  uint64_t bytes = 0;  // of the larger of input and output
};

// Of all ranks' GPUs together, in the last two thirds of the steps, evaluation left out.
struct EnergyReport {
  double joules = 0;
  int64_t steps = 0;
  uint64_t samples = 0;
};

struct FinishReport {
  int64_t steps = 0;
  double train_loss = 0;  // mean over all samples trained on
  double train_seconds = 0;
  uint64_t trained_samples = 0;
  int64_t skipped_steps = 0;
  std::optional<Evaluation> evaluation;                     // the last one
  MemoryReport memory;                                      // maximum over ranks
  double model_flops_per_sample = 0;                        // forward and backward
  CollectiveReport all_reduce, reduce_scatter, all_gather;  // rank 0's, among all ranks; none with one rank
  std::optional<double> exposed_communication_ms;           // a step; train.profile_steps
  std::optional<EnergyReport> energy;
  std::string model_folder;  // as written, or empty
};

// Told on rank 0, on the main thread. An exception from here ends the run.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void started(const StartReport&) {}
  virtual void stepped(const StepReport&) {}
  virtual void evaluating(const std::string& split, uint64_t done, uint64_t total) {}
  virtual void evaluated(int64_t step, const Evaluation&) {}  // in the middle of an epoch
  virtual void epoch_ended(const EpochReport&) {}
  virtual void finished(const FinishReport&) {}
  virtual void log(uint32_t level, const std::string& component, const std::string& text) {}  // every rank, any thread
};

// What the library offers.
class Api {
 public:
  virtual ~Api() = default;
  virtual void run(const Job& job, Observer& observer) = 0;  // throws Error
  // Rank job.ranks.rank of job.ranks.world as a dry run: no peers, no device, no data read. A strategy that touches the
  // memory it allocates in prepare crashes, so call it in a child process. Throws what the run would refuse.
  virtual MemoryPlan plan(const Job& job) = 0;
  virtual std::string torch_stamp() const = 0;  // "2.11.0+cu130 cxx11"
};

// The library's only exported symbol. kApiVersion guards against a stale file beside a new host.
inline constexpr uint32_t kApiVersion = 5;
inline constexpr const char* kApiSymbol = "espalier_runtime_api";
using ApiFactory = Api* (*)(uint32_t version);  // static storage, or NULL when the version differs

}  // namespace esp::runtime
