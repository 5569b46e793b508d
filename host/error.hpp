// The one exception type of the host and its runtime, and what each exit code means.
#pragma once

#include <stdexcept>
#include <string>

namespace esp {

// Documented in README.md ("Exit codes"). The same number on every rank that ends for the same cause.
enum class ExitCode : int {
  kOk = 0,
  kUsage = 2,          // command line, configuration, or a combination that cannot be honoured
  kPlugin = 3,         // a library was refused, or failed while running
  kData = 4,           // images, archives or weights are damaged, missing or do not fit
  kCheckpoint = 5,     // a run folder or checkpoint is damaged or does not fit
  kResource = 6,       // memory, disk, ports, devices
  kPeerLost = 7,       // another rank went away or a collective timed out
  kNumeric = 8,        // non-finite loss or gradients
  kInterrupted = 130,  // SIGINT or SIGTERM
  kInternal = 70,      // a bug of ours
};

// One line for the user: what was wrong, where (file, line, key, rank), what to do.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace esp
