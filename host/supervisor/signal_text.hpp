// Names of signals, and small texts made without allocation.
#pragma once

#include <cstddef>

namespace esp {

// "SIGSEGV"; "a signal" for one without a name of ours. [async-signal-safe]
const char* signal_name(int signal);

// Text in a fixed buffer: cut where it is full, always terminated. [async-signal-safe]
template <size_t N>
class FixedText {
 public:
  FixedText& operator<<(const char* text) {
    while (*text && length_ + 1 < N) text_[length_++] = *text++;
    text_[length_] = 0;
    return *this;
  }
  FixedText& operator<<(int number) {
    char digits[12];
    char* at = digits + sizeof digits - 1;
    *at = 0;
    unsigned rest = number < 0 ? 0u - static_cast<unsigned>(number) : static_cast<unsigned>(number);
    do *--at = static_cast<char>('0' + rest % 10);
    while (rest /= 10);
    if (number < 0) *--at = '-';
    return *this << at;
  }
  const char* c_str() const { return text_; }
  size_t size() const { return length_; }

 private:
  char text_[N] = {};
  size_t length_ = 0;
};

}  // namespace esp
