// What stands behind the tables: lookups and checks of one instance's handles and pointers. Throws CallError.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "runtime/device/device.hpp"
#include "runtime/services/guard.hpp"
#include "runtime/services/host_services.hpp"

namespace esp::runtime {

// Names the functions that may look into a HostServices.
struct ServiceCalls {
  HostServices& host;

  static HostServices& of(void* ctx) { return *static_cast<HostServices*>(ctx); }

  Device& device() const { return host.device_; }
  Kernels& kernels() const { return host.device_.kernels(); }
  UpdateService* update_or_null() const { return host.update_; }
  UpdateService& update() const;  // ESP_E_STATE before plan has returned
  Communicator& data() const { return *host.data_; }

  void outside_step(const char* what) const;  // ESP_E_STATE within one
  Stream& stream(esp_stream handle) const;
  Communicator& comm(esp_comm handle) const;

  // [pointer, pointer + n * size) lies in one block of memory.alloc; aligned to size; on the side of the stream (any
  // side when NULL). writable: it is this instance's own. n == 0: nothing is checked.
  void memory(const void* pointer, uint64_t n, uint64_t size, const Stream* stream, bool writable,
              const char* name) const;

  // One per function of the tables that is more than a few lines.
  esp_stream create_stream(uint32_t kind, int32_t priority) const;
  esp_event create_event() const;
  void record(esp_event event, esp_stream stream) const;
  void wait(esp_stream stream, esp_event event) const;
  void call(esp_stream stream, void (*fn)(void*), const void* arg, uint64_t bytes) const;
  void* alloc(uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags) const;
  void free(void* memory) const;
  esp_comm subset(esp_comm parent, const int32_t* ranks, uint32_t n) const;
  void scalars(const esp_sop* ops, uint32_t n, float* const* regs, uint32_t n_regs, esp_stream stream) const;
  void apply(std::span<const esp_range* const> ranges, Stream& stream) const;
  void log(uint32_t level, std::string_view text) const;
  const void* service(std::string_view id) const;
};

// The table of an id, or NULL. Shared by all instances, immutable.
const void* service_table(std::string_view id);

}  // namespace esp::runtime
