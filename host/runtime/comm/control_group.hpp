// What the training loops of all ranks tell each other: small values, from the main thread, blocking, beside the
// collectives of the step.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace esp::runtime {

enum class ControlOp { kSum, kMax, kMin };

// All ranks call the same functions in the same order. A lost peer or a timeout throws Error(kPeerLost).
class ControlGroup {
 public:
  virtual ~ControlGroup() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;
  virtual std::string broadcast(const std::string& bytes, int32_t root) = 0;  // root's bytes, on every rank
  virtual std::vector<std::string> all_gather(const std::string& bytes) = 0;  // by rank
  virtual void all_reduce(std::span<double> values, ControlOp op) = 0;        // in place; a NaN wins kMax and kMin
  virtual void barrier() = 0;
};

}  // namespace esp::runtime
