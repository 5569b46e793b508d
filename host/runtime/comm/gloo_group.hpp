// One c10d process group over Gloo, without c10d's headers: blocking collectives on raw memory.
#pragma once

#include <espalier/host.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/api.hpp"

namespace esp::runtime {

class GlooGroup;

// Where ranks find each other: a store and a network device, shared by all groups of the process.
class GlooStore {
 public:
  // Throws Error(kResource) when the port is taken, Error(kPeerLost) when the store cannot be reached in time.
  static std::shared_ptr<GlooStore> open(const RankFacts& facts, double timeout_s);
  virtual ~GlooStore() = default;

  // Blocks until all members have called it with this name. rank: among the members.
  virtual std::unique_ptr<GlooGroup> group(const std::string& name, int32_t rank, int32_t size) = 0;
};

// One thread at a time; all members in the same order. Throws std::exception with Gloo's text.
class GlooGroup {
 public:
  virtual ~GlooGroup() = default;
  // data in place; dtype F32, F64; op ESP_SUM, ESP_MAX, ESP_MIN.
  virtual void all_reduce(void* data, uint64_t n, esp_dtype dtype, uint32_t op) = 0;
  // in: size * n_out elements, may be overwritten.
  virtual void reduce_scatter(void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op) = 0;
  virtual void all_gather(const void* in, void* out, uint64_t bytes) = 0;  // bytes of each rank; out apart from in
};

}  // namespace esp::runtime
