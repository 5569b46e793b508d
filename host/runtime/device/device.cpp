#include "runtime/device/device.hpp"

#include "error.hpp"

namespace esp::runtime {
namespace {

[[noreturn]] void refuse() { throw Error(ExitCode::kInternal, "this device cannot capture steps"); }

}  // namespace

void Device::begin_capture() { refuse(); }
std::unique_ptr<Graph> Device::end_capture() { refuse(); }
void Device::launch(Graph& /*graph*/) { refuse(); }

}  // namespace esp::runtime
