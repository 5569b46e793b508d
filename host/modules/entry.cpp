#include "modules/entry.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <typeinfo>

#include "modules/load_error.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

std::string type_name(const std::type_info* type) {
  if (type == nullptr) return "unknown type";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                         std::free);
  return name ? name.get() : type->name();
}

}  // namespace

std::string describe_exception() {
  const std::string type = type_name(abi::__cxa_current_exception_type());
  try {
    throw;
  } catch (const std::exception& error) {
    return type + ": " + one_line(bounded(error.what(), 400));
  } catch (...) {
    return type;
  }
}

const esp_plugin* call_entry(esp_entry_fn entry, const std::string& path, const HostAbi& host) {
  esp_hello hello{};
  hello.struct_size = ESP_UPTO(esp_hello, host_version);
  hello.abi_major = host.major;
  hello.abi_minor = host.minor;
  hello.abi_minor_floor = host.minor_floor;
  hello.sdk_hash = host.sdk_hash;
  hello.host_version = ESPALIER_VERSION;
  esp_error error{};
  error.struct_size = ESP_UPTO(esp_error, message);
  const esp_plugin* plugin = nullptr;
  esp_status status = ESP_OK;
  try {
    status = entry(&hello, &plugin, &error);
  } catch (...) {
    throw LoadError(34, path,
                    "an exception escaped from " ESP_ENTRY_SYMBOL " (" + describe_exception() +
                        "); catch it there and return an esp_error");
  }
  if (status == ESP_OK) return plugin;
  const std::string text = one_line(bounded(error.message, sizeof error.message));
  throw LoadError(
      33, path, "its entry refuses with status " + std::to_string(status) + ": " + (text.empty() ? "(no text)" : text));
}

}  // namespace esp
