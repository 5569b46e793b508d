// What this rank is doing, for the message about a crash or a kill.
#pragma once

namespace esp {

// "decoding images", "forward_unit of libvit.so". A text that ends with a library's name (".so") says that code of that
// plugin runs, so that a crash now is the plugin's (exit code kPlugin). Cut after 247 bytes; "" = nothing special.
// [any thread; cheap enough for every hook; two threads at once may mix their texts]
void set_phase(const char* text);

}  // namespace esp
