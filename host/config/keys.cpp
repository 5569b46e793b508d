// The host's own keys: types, defaults, ranges and meanings. Users read them here by way of `host help run` and
// docs/configuration.md; RunConfig repeats the defaults, and a test compares.
#include <array>

#include "config/option_value.hpp"
#include "config/resolve.hpp"

namespace esp {
namespace {

constexpr esp_value kAbsent{};
constexpr esp_value integer(int64_t value) { return {.type = ESP_OPT_I64, .n = 0, .v = {.i = value}}; }
constexpr esp_value number(double value) { return {.type = ESP_OPT_F64, .n = 0, .v = {.f = value}}; }
constexpr esp_value seconds(double value) { return {.type = ESP_OPT_DURATION, .n = 0, .v = {.f = value}}; }
constexpr esp_value boolean(bool value) { return {.type = ESP_OPT_BOOL, .n = 0, .v = {.i = value ? 1 : 0}}; }
constexpr esp_value text(const char* value) { return {.type = ESP_OPT_STR, .n = 0, .v = {.s = value}}; }

constexpr esp_option key(uint32_t type, const char* name, esp_value def, const char* doc, esp_value min = kAbsent,
                         esp_value max = kAbsent, uint32_t flags = ESP_OPT_SWEEPABLE) {
  esp_option option{};
  option.struct_size = sizeof(esp_option);
  option.type = type;
  option.flags = flags;
  option.key = name;
  option.doc = doc;
  option.def = def;
  option.min = min;
  option.max = max;
  return option;
}

template <size_t N>
constexpr esp_option choice(const char* name, const char* const (&choices)[N], const char* def, const char* doc) {
  esp_option option = key(ESP_OPT_ENUM, name, kAbsent, doc);
  if (def != nullptr) option.def = {.type = ESP_OPT_ENUM, .n = 0, .v = {.s = def}};
  option.n_choices = N;
  option.choices = choices;
  return option;
}

constexpr const char* kDevices[] = {"auto", "cpu", "cuda"};
constexpr const char* kVerbosities[] = {"debug", "info", "warning", "error"};
constexpr const char* kRecompute[] = {"none", "gelu", "gelu+norm", "block"};
constexpr const char* kPrecisions[] = {"fp32", "tf32", "bf16", "fp16"};
constexpr const char* kOnNonfinite[] = {"stop", "ignore"};
constexpr const char* kOptimizers[] = {"adamw", "sgd"};
constexpr const char* kSchedules[] = {"constant", "linear", "cosine"};
constexpr const char* kProtocols[] = {"honest", "seed"};
constexpr double kBetas[] = {0.9, 0.999};

constexpr int64_t kMaxRanks = 1024;
constexpr int64_t kMaxBatch = 1000000;  // with the one above, no product of batch arithmetic overflows

constexpr esp_option kRunKeys[] = {
    key(ESP_OPT_STR, "plugin", kAbsent,
        "the strategy's library: a path, or a file name that is searched for; libzero.so:zero names a component too",
        kAbsent, kAbsent, ESP_OPT_SWEEPABLE | kOptionNamesLibrary),
    key(ESP_OPT_STR, "strategy", kAbsent, "the component, when a library holds several; default: the only one"),
    key(ESP_OPT_I64, "nproc", integer(1),
        "local ranks to start; a launcher such as torchrun decides instead when there is one", integer(1),
        integer(kMaxRanks)),
    choice("device", kDevices, "auto", "where to run; auto: CUDA when a GPU can be used, else CPU"),
    key(ESP_OPT_I64, "threads", kAbsent, "CPU threads of a rank; default: cores / local ranks", integer(1),
        integer(4096)),
    key(ESP_OPT_BYTES, "device_budget", kAbsent, "device memory that a rank may take; default: what is there"),
    key(ESP_OPT_BYTES, "pinned_budget", kAbsent, "pinned host memory that a rank may take; default: what is there"),
    key(ESP_OPT_DURATION, "timeout", seconds(300), "longest wait for other ranks in a collective", seconds(1),
        seconds(604800)),
    key(ESP_OPT_I64, "collective_blocks", integer(0),
        "most blocks of a collective between GPUs, each of which takes a multiprocessor from the model; 0: NCCL's "
        "choice",
        integer(0), integer(64)),
    key(ESP_OPT_I64, "seed", integer(42), "decides initial weights, order of samples and augmentation", integer(0)),
    key(ESP_OPT_PATH, "out", kAbsent, "folder that the run leaves its results in; default: out/<date>-<plugin>",
        kAbsent, kAbsent, 0),
    choice("verbosity", kVerbosities, "info", "least important messages that are still shown"),
};

constexpr esp_option kModelKeys[] = {
    key(ESP_OPT_STR, "module", text("libvit.so"), "library that holds the model", kAbsent, kAbsent,
        ESP_OPT_SWEEPABLE | kOptionNamesLibrary),
    choice("recompute", kRecompute, "none", "activations that backward computes anew instead of keeping them"),
    key(ESP_OPT_LIST_STR, "freeze", {.type = ESP_OPT_LIST_STR, .n = 0, .v = {.list = nullptr}},
        "parameters that are not trained: patterns with * and ? for whole names"),
};

constexpr esp_option kDataKeys[] = {
    key(ESP_OPT_STR, "module", text("libvit.so"), "library that holds the dataset", kAbsent, kAbsent,
        ESP_OPT_SWEEPABLE | kOptionNamesLibrary),
    key(ESP_OPT_STR, "split", text("validation"), "split that `host eval` scores"),
    key(ESP_OPT_BOOL, "shuffle", boolean(true),
        "a new order of samples each epoch, from the seed; false: by class folder and file name"),
    key(ESP_OPT_I64, "limit", kAbsent, "samples used of each split; default: all", integer(1)),
    key(ESP_OPT_BOOL, "drop_last", boolean(false),
        "leave out an epoch's last short batch; false: it is used, weighted by its samples"),
    key(ESP_OPT_I64, "workers", kAbsent, "threads of a rank that load samples; default: run.threads", integer(1),
        integer(4096)),
};

constexpr esp_option kTrainKeys[] = {
    key(ESP_OPT_I64, "epochs", kAbsent, "passes over the training split; default: 3, or as many as max_steps needs",
        integer(1), integer(1000000)),
    key(ESP_OPT_I64, "max_steps", kAbsent,
        "optimizer steps after which training ends; with epochs given too, whichever comes first", integer(1)),
    key(ESP_OPT_I64, "batch_size", kAbsent,
        "samples in a rank's micro-batch; default: follows, for a global batch of 32", integer(1), integer(kMaxBatch)),
    key(ESP_OPT_I64, "global_batch_size", kAbsent,
        "samples in a step: batch_size x accumulation_steps x ranks; default: follows", integer(1), integer(kMaxBatch)),
    key(ESP_OPT_I64, "accumulation_steps", kAbsent,
        "micro-batches of a rank in a step; default: follows from the two others, else 1", integer(1),
        integer(kMaxBatch)),
    choice("precision", kPrecisions, nullptr,
           "of computation; default: the strategy's own, else bf16 on CUDA and fp32 on CPU"),
    key(ESP_OPT_F64, "clip_norm", number(0), "largest global norm of the gradients; 0: no clipping", number(0)),
    key(ESP_OPT_F64, "eval_every", number(1),
        "epochs from one evaluation on the validation split to the next; 0: never", number(0)),
    choice("on_nonfinite", kOnNonfinite, "stop",
           "what to do about a loss or gradient that is not finite (fp16: a step is skipped in any case)"),
    key(ESP_OPT_BOOL, "save", boolean(true), "write the trained weights as an HF folder, model/, at the end"),
    key(ESP_OPT_BOOL, "deterministic", boolean(false),
        "same inputs, same bits: refuse kernels that add in varying order"),
    key(ESP_OPT_BOOL, "graph", boolean(true),
        "on a GPU: launch a whole step as one CUDA graph where strategy and model allow it; false: enqueue its parts"),
    key(ESP_OPT_I64, "profile_steps", integer(0),
        "steps after the last one, whose results are dropped, in which waiting for other ranks is timed; 0: it is not",
        integer(0), integer(1000)),
};

constexpr esp_option kOptimizerKeys[] = {
    choice("name", kOptimizers, "adamw", "update rule"),
    key(ESP_OPT_F64, "lr", number(5e-5), "learning rate, at its highest", number(0)),
    key(ESP_OPT_F64, "weight_decay", number(0.01), "weight decay; skips one-dimensional parameters", number(0)),
    key(ESP_OPT_LIST_F64, "betas", {.type = ESP_OPT_LIST_F64, .n = 2, .v = {.list = kBetas}},
        "adamw: decay of the two running means; both below 1", number(0), number(1)),
    key(ESP_OPT_F64, "eps", number(1e-8), "adamw: added to the denominator", number(0)),
    key(ESP_OPT_F64, "momentum", number(0.9), "sgd: momentum; below 1", number(0), number(1)),
    choice("schedule", kSchedules, "cosine",
           "of the learning rate after warm-up, down to 0 at the last step; constant: none"),
    key(ESP_OPT_I64, "warmup_steps", kAbsent,
        "steps over which the learning rate rises from 0; excludes warmup_ratio; default: 0", integer(0)),
    key(ESP_OPT_F64, "warmup_ratio", kAbsent, "the same as a fraction of all steps; excludes warmup_steps", number(0),
        number(1)),
};

constexpr esp_option kBenchKeys[] = {
    choice(
        "protocol", kProtocols, "honest",
        "honest: device-timed steps after detected warm-up; seed: 20 steps, no warm-up, peak memory since the start"),
    key(ESP_OPT_I64, "warmup", kAbsent, "first steps that are not timed; default: until step times are steady",
        integer(0), integer(1000000)),
    key(ESP_OPT_I64, "steps", integer(30), "steps of a run that are timed, at least", integer(1), integer(1000000)),
    key(ESP_OPT_I64, "repeats", integer(1), "runs of each case, interleaved with the others", integer(1),
        integer(1000)),
    key(ESP_OPT_DURATION, "time_limit", seconds(3600), "longest time of one run; then it is ended and its row says so",
        seconds(1), seconds(604800)),
    key(ESP_OPT_F64, "peak_tflops", kAbsent,
        "arithmetic that a rank's device can do, in TFLOP/s, for MFU; default: unknown, no MFU", number(1e-6)),
    key(ESP_OPT_PATH, "compare", kAbsent,
        "folder of an earlier sweep to compare with at the end, as host compare does; default: none", kAbsent, kAbsent,
        0),
};

template <size_t N>
std::vector<const esp_option*> pointers(const esp_option (&options)[N]) {
  std::vector<const esp_option*> list;
  for (const esp_option& option : options) list.push_back(&option);
  return list;
}

}  // namespace

std::span<const KeyTable> host_keys() {
  static const std::array<KeyTable, 6> tables{{{"run", pointers(kRunKeys)},
                                               {"model", pointers(kModelKeys)},
                                               {"data", pointers(kDataKeys)},
                                               {"train", pointers(kTrainKeys)},
                                               {"optimizer", pointers(kOptimizerKeys)},
                                               {"bench", pointers(kBenchKeys)}}};
  return tables;
}

}  // namespace esp
