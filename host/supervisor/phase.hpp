// What this rank is doing, for the message about a crash or a kill.
#pragma once

namespace esp {

// text: "decoding images", "forward_unit of libvit.so"; cut after 239 bytes, "" = nothing special. in_plugin: code of a
// plugin runs, so that a crash now is the plugin's (exit code kPlugin). [any thread; cheap enough for every hook; two
// threads at once may mix their texts]
void set_phase(const char* text, bool in_plugin);

}  // namespace esp
