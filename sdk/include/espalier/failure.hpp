// Exceptions on this side of the border, status and text on the other: the only place where one becomes the other.
//
// C++17, no third-party header. Everything in the .hpp files lives in an inline namespace with hidden visibility, so
// two plugins built from different headers never share a symbol.
#ifndef ESPALIER_FAILURE_HPP
#define ESPALIER_FAILURE_HPP

#include <espalier/abi.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#define ESP_HIDDEN __attribute__((visibility("hidden")))

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// What a component throws: an ESP_E_ code and one line that says what was wrong and what to do.
class Failure : public std::runtime_error {
 public:
  Failure(esp_status code, const std::string& message, std::string where = {}, uint32_t rule = 0)
      : std::runtime_error(message), code_(code), rule_(rule), where_(std::move(where)) {}

  esp_status code() const { return code_; }
  uint32_t rule() const { return rule_; }
  const std::string& where() const { return where_; }  // function or component; empty = the function that is left

 private:
  esp_status code_;
  uint32_t rule_;
  std::string where_;
};

namespace detail {

inline void append(std::string& out, const char* text) { out += text; }
inline void append(std::string& out, const std::string& text) { out += text; }
template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
void append(std::string& out, T number) {
  out += std::to_string(number);
}

// Copies the first line of `text`, cut between two characters of UTF-8 where it does not fit.
template <std::size_t N>
void copy_line(char (&out)[N], const char* text) noexcept {
  std::size_t length = std::min<std::size_t>(std::strcspn(text, "\r\n"), N - 1);
  if (text[length] != '\0') {
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0u) == 0x80u) --length;
  }
  std::memcpy(out, text, length);
  out[length] = '\0';
}

inline esp_status fill_error(esp_error* error, esp_status code, uint32_t rule, const char* where,
                             const char* message) noexcept {
  if (error != nullptr) {
    if (ESP_HAS(esp_error, error, code)) error->code = code;
    if (ESP_HAS(esp_error, error, rule)) error->rule = rule;
    if (ESP_HAS(esp_error, error, where)) copy_line(error->where, where);
    if (ESP_HAS(esp_error, error, message)) copy_line(error->message, message);
  }
  return code;
}

}  // namespace detail

// Throws Failure; the message is the parts (text and numbers) one after the other.
template <class... Parts>
[[noreturn]] void fail(esp_status code, const Parts&... parts) {
  std::string message;
  (detail::append(message, parts), ...);
  throw Failure(code, message);
}

// Runs `body` and turns what it throws into a status and text. `where` names the function for the error.
template <class Body>
esp_status guarded(const char* where, esp_error* error, Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return ESP_OK;
  } catch (const Failure& failure) {
    const char* place = failure.where().empty() ? where : failure.where().c_str();
    const esp_status code = failure.code() == ESP_OK ? ESP_E_INTERNAL : failure.code();
    return detail::fill_error(error, code, failure.rule(), place, failure.what());
  } catch (const std::bad_alloc&) {
    return detail::fill_error(error, ESP_E_HOST_MEMORY, 0, where, "host memory is exhausted");
  } catch (const std::exception& exception) {
    return detail::fill_error(error, ESP_E_INTERNAL, 0, where, exception.what());
  } catch (...) {
    return detail::fill_error(error, ESP_E_INTERNAL, 0, where, "an exception that is no std::exception was thrown");
  }
}

// Calls a function of the other side with an esp_error behind the arguments; throws Failure when it fails.
template <class Function, class... Arguments>
void call(const char* where, Function* function, Arguments... arguments) {
  esp_error error;
  error.struct_size = sizeof error;
  error.code = ESP_OK;
  error.rule = 0;
  error.reserved = 0;
  error.where[0] = error.message[0] = '\0';
  const esp_status status = function(arguments..., &error);
  if (status == ESP_OK) return;
  error.where[sizeof error.where - 1] = error.message[sizeof error.message - 1] = '\0';
  const std::string text = error.message[0] != '\0' ? error.message : "failed with status " + std::to_string(status);
  throw Failure(status, text, error.where[0] != '\0' ? error.where : where, error.rule);
}

// A borrowed array.
template <class T>
class Slice {
 public:
  Slice(T* data, std::size_t size) : data_(data), size_(size) {}
  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_;
  std::size_t size_;
};

// Gives the caller of a table function its answer: as much of `value` as the caller's struct has room for.
template <class T>
void answer(T* out, T value) {
  value.struct_size = std::min<uint32_t>(out->struct_size, sizeof(T));
  std::memcpy(out, &value, value.struct_size);
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_FAILURE_HPP
