// A table function was used wrongly: what the plugin is told, as a status of the ABI.
#pragma once

#include <espalier/abi.h>

#include <string>

#include "error.hpp"

namespace esp::runtime {

class CallError : public Error {
 public:
  CallError(esp_status status, const std::string& message) : Error(ExitCode::kPlugin, message), status_(status) {}
  esp_status status() const { return status_; }

 private:
  esp_status status_;
};

}  // namespace esp::runtime
