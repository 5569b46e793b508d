// The border: no exception passes it, every failure becomes a status and a text.
#pragma once

#include <espalier/abi.h>

#include <exception>
#include <new>
#include <string_view>

#include "error.hpp"
#include "runtime/device/call_error.hpp"

namespace esp::runtime {

// Fills what the caller's struct has room for (error may be NULL); returns the code.
esp_status report(esp_error* error, esp_status code, std::string_view where, std::string_view message) noexcept;

esp_status status_of(ExitCode code);

template <class Body>
esp_status guarded(esp_error* error, std::string_view where, Body&& body) noexcept {
  try {
    body();
    return ESP_OK;
  } catch (const CallError& failure) {
    return report(error, failure.status(), where, failure.what());
  } catch (const Error& failure) {
    return report(error, status_of(failure.code()), where, failure.what());
  } catch (const std::bad_alloc&) {
    return report(error, ESP_E_HOST_MEMORY, where, "out of host memory");
  } catch (const std::exception& failure) {
    return report(error, ESP_E_INTERNAL, where, failure.what());
  } catch (...) {
    return report(error, ESP_E_INTERNAL, where, "an exception of unknown type");
  }
}

}  // namespace esp::runtime
