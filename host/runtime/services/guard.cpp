#include "runtime/services/guard.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace esp::runtime {
namespace {

// At most size - 1 bytes, never half a UTF-8 character.
void put(char* to, size_t size, std::string_view text) noexcept {
  size_t n = std::min(text.size(), size - 1);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0u) == 0x80u) --n;
  std::memcpy(to, text.data(), n);
  to[n] = '\0';
}

}  // namespace

esp_status report(esp_error* error, esp_status code, std::string_view where, std::string_view message) noexcept {
  if (error == nullptr) return code;
  if (ESP_HAS(esp_error, error, code)) error->code = code;
  if (ESP_HAS(esp_error, error, where)) put(error->where, sizeof(error->where), where);
  if (ESP_HAS(esp_error, error, message)) put(error->message, sizeof(error->message), message);
  return code;
}

esp_status status_of(ExitCode code) {
  switch (code) {
    case ExitCode::kUsage:
    case ExitCode::kPlugin:
      return ESP_E_INVALID;
    case ExitCode::kData:
    case ExitCode::kCheckpoint:
      return ESP_E_DATA;
    case ExitCode::kResource:
      return ESP_E_DEVICE_MEMORY;
    case ExitCode::kPeerLost:
      return ESP_E_COMM;
    case ExitCode::kNumeric:
      return ESP_E_DEVICE;
    case ExitCode::kInterrupted:
      return ESP_E_CANCELLED;
    default:
      return ESP_E_INTERNAL;
  }
}

}  // namespace esp::runtime
