#include "runtime/train/component_instance.hpp"

namespace esp::runtime {
namespace {

// Strategies refuse in `plan` what was asked of them; models and data sets meet files.
ExitCode exit_code_of(const Callee& callee, const char* function, esp_status status) {
  const bool before_the_run = std::strcmp(function, "create") == 0 || std::strcmp(function, "plan") == 0;
  switch (status) {
    case ESP_E_HOST_MEMORY:
    case ESP_E_DEVICE_MEMORY:
    case ESP_E_DEVICE:
      return ExitCode::kResource;
    case ESP_E_COMM:
      return ExitCode::kPeerLost;
    case ESP_E_CANCELLED:
      return ExitCode::kInterrupted;
    case ESP_E_DATA:
      return ExitCode::kData;
    case ESP_E_IO:
      return callee.kind == ESP_STRATEGY          ? ExitCode::kPlugin
             : std::strcmp(function, "save") == 0 ? ExitCode::kResource
                                                  : ExitCode::kData;
    case ESP_E_INVALID:
    case ESP_E_UNSUPPORTED:
      return before_the_run || callee.kind != ESP_STRATEGY ? ExitCode::kUsage : ExitCode::kPlugin;
    default:
      return ExitCode::kPlugin;
  }
}

const char* status_text(esp_status status) {
  switch (status) {
    case ESP_E_INVALID:
      return "invalid argument";
    case ESP_E_UNSUPPORTED:
      return "unsupported";
    case ESP_E_HOST_MEMORY:
      return "out of host memory";
    case ESP_E_DEVICE_MEMORY:
      return "out of device memory";
    case ESP_E_DEVICE:
      return "device failure";
    case ESP_E_COMM:
      return "communication failure";
    case ESP_E_STATE:
      return "called in the wrong state";
    case ESP_E_IO:
      return "input or output failed";
    case ESP_E_ABI:
      return "versions do not fit";
    case ESP_E_CANCELLED:
      return "cancelled";
    case ESP_E_DATA:
      return "data damaged or unfit";
    case ESP_E_INTERNAL:
      return "internal error";
    default:
      return "unknown status";
  }
}

// The callee's text is untrusted: bounded, and one line.
std::string one_line(const char* text, size_t size) {
  std::string line(text, strnlen(text, size));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return line;
}

}  // namespace

void throw_call_error(const Callee& callee, const char* function, esp_status status, const esp_error& error) {
  if (callee.root_cause) callee.root_cause();
  std::string text = one_line(error.message, sizeof error.message);
  if (text.empty()) text = std::string(status_text(status)) + " (status " + std::to_string(status) + ", no text given)";
  const ExitCode code = exit_code_of(callee, function, status);
  // What a user did is said plainly; what a library did is said with its name and the call.
  if (code == ExitCode::kUsage || code == ExitCode::kData) throw Error(code, text);
  throw Error(code, callee.name + ": " + function + " failed: " + text);
}

}  // namespace esp::runtime
