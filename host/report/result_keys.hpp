// Names of numbers and facts, spelled once: results.json of a run, rows.jsonl and table.csv of a sweep, and what an
// external program prints use the same.
#pragma once

namespace esp::keys {

inline constexpr const char* kPlugin = "plugin";
inline constexpr const char* kModel = "model";
inline constexpr const char* kDevice = "device";
inline constexpr const char* kDeviceName = "device_name";
inline constexpr const char* kPrecision = "precision";
inline constexpr const char* kWorldSize = "world_size";
inline constexpr const char* kBatchSize = "batch_size";
inline constexpr const char* kGlobalBatchSize = "global_batch_size";

inline constexpr const char* kTrainSamples = "train_samples";
inline constexpr const char* kTrainLoss = "train_loss";
inline constexpr const char* kTrainRuntime = "train_runtime";
inline constexpr const char* kSamplesPerSecond = "samples_per_second";
inline constexpr const char* kStepMs = "step_ms";
inline constexpr const char* kStepMsMedian = "step_ms_median";
inline constexpr const char* kStepMsP5 = "step_ms_p5";
inline constexpr const char* kStepMsP95 = "step_ms_p95";
inline constexpr const char* kModelFlopsPerSample = "model_flops_per_sample";
inline constexpr const char* kModelFlopsPerSecond = "model_flops_per_second";
inline constexpr const char* kMfu = "mfu";

// By kind; see runtime::MemoryByTag.
inline constexpr const char* kMemoryBytes = "memory_bytes";
inline constexpr const char* kMemoryBytesDevice = "memory_bytes_device";
inline constexpr const char* kMemoryBytesPinned = "memory_bytes_pinned";
inline constexpr const char* kPeakAllocatedBytes = "peak_allocated_bytes";
inline constexpr const char* kPeakDeviceBytes = "peak_device_bytes";

// Of the step: how long the compute stream stood still while a collective was under way.
inline constexpr const char* kExposedCommunicationMs = "exposed_communication_ms";
// Of all GPUs together.
inline constexpr const char* kJoulesPerStep = "joules_per_step";
inline constexpr const char* kJoulesPerSample = "joules_per_sample";

inline constexpr const char* kCollectivesPerStep = "collectives_per_step";  // by name, each with the two below
inline constexpr const char* kCalls = "calls";
inline constexpr const char* kBytes = "bytes";

}  // namespace esp::keys
