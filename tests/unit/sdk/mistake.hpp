// Mistakes that a strategy can make, planted between a sound strategy and the mock host: what the host then sees is
// what it would see of a strategy with that mistake.
#pragma once

enum class Mistake {
  kNone,
  kNoWaitForGradients,      // a reduction does not wait for the branch that writes gradients
  kNoWaitForModel,          // what writes weights does not wait for the model that reads them
  kNoWaitForGathered,       // the model does not wait for gathered weights, nor for a slot that is still read
  kNoWaitForCopyToHost,     // the CPU does not wait for gradients on their way to host memory
  kNoWaitForCpuUpdate,      // weights are sent to the device before the CPU has updated them
  kReleasedOnCompute,       // events of side streams are recorded on the compute stream
  kWaitsAcrossSteps,        // events are recorded in the first step only: later waits refer to it
  kNotedInHook,             // what differs between steps is noted in a hook, which no replay runs, not in variant
  kSumForMean,              // ESP_SUM where ESP_AVG is meant
  kRankDropped,             // rank 1 gives nothing to the first reduction of the second step
  kBarrierIgnored,          // the update does not wait for the norm
  kLocalNorm,               // the norm of this rank's part passes as that of all
  kNormFinishedEarly,       // the norm is finished when half of the gradients have entered it
  kAccumulationOverwrites,  // a later micro-batch replaces what the earlier ones added up
  kArmedOnce,               // gradient slots are told to overwrite in the first micro-batch only
  kUnusedNotWritten,        // the model leaves the gradient of an unused parameter as it finds it
  kTiedReducedEarly,        // a tied gradient is taken for final at its first use in backward
  kStaleAfterLoad,          // the model's copy is not refreshed from loaded masters
  kStaleAfterUpdate,        // nor from updated ones
  kOtherRanksPart,          // rank and part are those of the next rank
  kOffsetDropped,           // shards are listed as if they began at the parameter's first element
};
