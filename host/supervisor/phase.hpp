// What each thread of this rank is doing, for the message about a crash or a kill.
#pragma once

#include <atomic>
#include <cstdint>

namespace esp {

// Of the calling thread. text: "decoding images", "forward_unit of libvit.so"; cut after 239 bytes, "" = nothing
// special. in_plugin: code of a plugin runs, so that a crash now is the plugin's (exit code kPlugin). [any thread]
void set_phase(const char* text, bool in_plugin);

// The same for what happens in every hook: the text is written down once and has a number from then on; to store that
// in current_phase() is all it takes to say that the calling thread does it now. Equal texts have equal numbers.
// [any thread]
uint32_t name_phase(const char* text, bool in_plugin);
std::atomic<uint32_t>& current_phase();

}  // namespace esp
