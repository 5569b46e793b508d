// What ThreadSanitizer must not report in a test of communicators. Include it in one source of an executable.
#pragma once

#ifdef __SANITIZE_THREAD__
// LibTorch and libstdc++ are not instrumented, so the counting of references to exceptions that cross threads is not
// seen.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions() {
  return "race:libtorch_cpu.so\nrace:std::__exception_ptr::exception_ptr::_M_release\nrace:std::runtime_error::~"
         "runtime_error\n";
}
#endif
