#include "verify/rules.hpp"

#include "error.hpp"

namespace esp::verify {
namespace {

constexpr Rule kRules[] = {
    {"LIB-02", "the entry refuses a host of another ABI major, a truncated hello and another SDK hash",
     "compare abi_major, struct_size and sdk_hash of the hello before anything else, and return ESP_E_ABI", false},
    {"LIB-03", "table() answers NULL for ids that are not offered", "compare the whole id, not a prefix of it", false},
    {"LIB-04", "the entry may be called more than once and answers the same",
     "return static storage, do not build it anew", false},
    {"LIB-05", "loading and the entry start no thread and open no file",
     "move that into create: a scan of a folder loads every library", false},
    {"LIB-06", "esp_plugin_entry_v1 is the only exported symbol",
     "build with hidden visibility and the version script of espalier_add_plugin", false},
    {"OPT-02", "defaults make a working instance", "choose defaults that train on any model", false},
    {"LIFE-01", "a call that the contract allows succeeds", "read the text: the plugin gave it", true},
    {"LIFE-02", "a failed call gives a code and a text", "fill esp_error.message: what was wrong, what to do", false},
    {"LIFE-03", "an instance leaves no heap memory, thread or file descriptor behind destroy",
     "free in destroy what create and prepare took, also after a failure", false},
    {"LIFE-05", "the process survives every call", "run again with --repro under a debugger", false},
    {"LIFE-06", "every call returns within the time limit", "do not wait for other ranks or work in a call", false},
    {"HOOK-01", "hooks do not allocate or free memory and create no stream, event or communicator",
     "take everything in prepare, or in adapt", false},
    {"HOOK-02", "hooks never wait for the device", "order work with record and wait instead of sync", false},
    {"HOOK-03", "no bind between a unit's pre and post hook for a parameter of that unit",
     "bind in the pre hook or before it", false},
    {"HOOK-04", "plan is pure: it takes no memory and enqueues nothing", "move the call to prepare", false},
    {"HOOK-05", "updates belong into hooks", "call norm_add, norm_finish and apply in a hook of a training step",
     false},
    {"HOOK-06", "variant is below 16", "number the kinds of steps from 0", false},
    {"BIND-01", "every parameter of a unit is bound when the unit runs", "bind it in prepare or in the pre hook",
     false},
    {"BIND-02", "every trainable parameter has a bound gradient when a unit's backward runs",
     "bind its gradient in prepare or in pre_backward", false},
    {"BIND-03", "a bind is to living memory of the instance, large enough, aligned for its dtype",
     "bind inside what memory.alloc gave; count elements times bytes of the dtype", false},
    {"BIND-04", "what one unit reads and writes does not overlap", "give each parameter and gradient its own range",
     false},
    {"BIND-05", "binds use the dtypes that plan told", "bind parameters as compute_t, gradients as grad_t", false},
    {"BIND-06", "binds name a parameter of the view, with a known kind and mode",
     "gradients: ESP_WRITE_EACH_PASS or ESP_WRITE_NOW; parameters: 0; frozen parameters have no gradient", false},
    {"STREAM-01", "work that touches the same memory is ordered",
     "record an event behind the earlier work and wait for it on the later stream", false},
    {"STREAM-02", "no event of one step is waited for in another", "record and wait inside the same step", false},
    {"STREAM-03", "streams touch the memory of their place",
     "ESP_STREAM_CPU: ESP_PINNED; ESP_STREAM_DEVICE: ESP_DEVICE; cross with kernels.copy", false},
    {"STREAM-05", "handles are the instance's own", "use streams, events and communicators that its tables gave",
     false},
    {"MEM-01", "prepare does not touch the memory it allocates", "enqueue the work in state_loaded or in a hook",
     false},
    {"MEM-02", "pointers given to tables lie inside living allocations of the instance",
     "check offset and count; host memory is no device memory", false},
    {"MEM-03", "freed memory is not used", "free only what no later call names", false},
    {"MEM-04", "nothing is written outside allocations", "check what call() functions write", false},
    {"MEM-05", "free is given what alloc gave, once", "free the pointer that alloc returned", false},
    {"MEM-06", "when memory is refused, prepare fails with its code, and destroy works",
     "return the code of the failed alloc and keep members valid", false},
    {"MEM-07", "what prepare takes does not depend on the addresses it gets and is equal each time",
     "size everything from view, run and options", false},
    {"COMM-01", "all ranks issue the same collectives in the same order",
     "do not let rank, data or addresses decide about a collective", false},
    {"COMM-02", "a collective's memory was allocated with ESP_MEM_COMM and is on the device",
     "add the flag to memory.alloc", false},
    {"COMM-03", "in place means at this rank's own part", "offset by rank * count elements", false},
    {"COMM-04", "collectives have a known dtype and operation and stay inside a step or state_loaded",
     "F32, BF16, F16, F64 (U8 for all_gather) and ESP_SUM, ESP_AVG, ESP_MAX, ESP_MIN", false},
    {"COMM-05", "subset is called by all members in the same order, with ascending ranks",
     "derive groups from rank-independent arithmetic", false},
    {"UPD-01", "every trainable element is updated once per step over all ranks, or once by each rank",
     "one apply per owned range, frozen parameters none", false},
    {"UPD-02", "ranges of apply lie inside a trainable parameter", "offset + n <= numel; skip frozen parameters",
     false},
    {"UPD-03", "with ESP_UPDATE_BARRIER apply comes after norm_finish", "norm_add, norm_finish, then apply", false},
    {"UPD-04", "with ESP_UPDATE_NORM every trainable element enters the norm once per step, padding never",
     "norm_add over parameter ranges of what this rank owns; norm_finish once, over the group that shares", false},
    {"UPD-05", "apply gets a master and slots of the host's dtypes", "allocate by desc()->master and slots[i]->dtype",
     false},
    {"STATE-01", "state lists every element's \"param\" once over the ranks, or on every rank as REPLICATED",
     "frozen ones too; zero-element parameters none", false},
    {"STATE-02", "state lists every optimizer slot of every trainable element likewise", "use the names of update.desc",
     false},
    {"STATE-03", "shards lie in living memory, inside their parameter", "lo < hi <= numel", false},
    {"STATE-04", "state lists the same shards in the same order, at the same addresses, each time",
     "build the list in prepare", false},
    {"STATE-05", "replicated shards are equal bit for bit on all ranks", "apply the same update everywhere", true},
    {"NUM-01", "every unit computes with the weights that the step before left",
     "average gradients over ranks (ESP_AVG), add them over micro-batches, refresh copies after the update; for a "
     "strategy that is not synchronous by design: --numerics own",
     true},
    {"NUM-02", "the norm is that of the averaged gradient over all ranks",
     "norm_finish takes the group over which gradients are sharded, or NULL where each rank added all", true},
    {"NUM-03", "ranks that see the same samples end where one rank ends", "average (ESP_AVG), do not sum", true},
    {"NUM-04", "equal inputs give equal bits", "do not let addresses, time or threads decide", true},
    {"NUM-05", "weights stay finite", "look for memory that was read before it was written", true},
    {"NUM-06", "a step with non-finite gradients leaves weights as they were, on all ranks",
     "let every rank add its gradients to the norm", true},
    {"NUM-07", "ranks that update alone agree again from time to time", "average the weights", true},
    {"CAP-01", "steps with an equal variant make the same table calls with the same arguments",
     "let only variant() choose between kinds of steps", false},
    {"EVAL-01", "an evaluation changes nothing and sees the latest weights",
     "bind for EVAL without disturbing what training steps need", true},
    {"DATA-01", "describe names splits and classes that fit each other", "see the text", false},
    {"DATA-02", "fetch is a function of seed, epoch and index", "draw from a counter, not from a stream", true},
    {"DATA-03", "fetch may run on many threads at once", "guard shared state, or have none", true},
    {"DATA-04", "fetch writes its part of the output and nothing else", "n times the field's bytes", false},
    {"DATA-05", "labels are below the number of classes", "see the text", false},
    {"DATA-06", "evaluation fetches are not augmented and do not depend on the epoch", "heed ESP_FETCH_EVAL", true},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

const Rule& find_rule(std::string_view id) {
  for (const Rule& rule : kRules) {
    if (id == rule.id) return rule;
  }
  throw Error(ExitCode::kInternal, "no rule " + std::string(id));
}

std::string rules_markdown() {
  std::string text = "| rule | the contract asks | when it is broken |\n|---|---|---|\n";
  for (const Rule& rule : kRules) {
    text += std::string("| ") + rule.id + " | " + rule.demand + " | " + rule.advice + " |\n";
  }
  return text;
}

}  // namespace esp::verify
