// Loads a plugin in a child process first: what crashes, hangs or answers nonsense does so there.
#pragma once

#include <chrono>
#include <filesystem>

#include "modules/elf_note.hpp"

namespace esp {

inline constexpr std::chrono::seconds kProbeLimit{10};

// Forks, so the calling process should have one thread only. The child opens the library, calls its entry, checks all
// that it answers, and reports; its stdin, stdout and stderr are /dev/null. Throws LoadError L30 to L39 or L61, or what
// the child could not get (Error(kResource)).
void probe_library(const std::filesystem::path& path, const PluginFile& file,
                   std::chrono::milliseconds limit = kProbeLimit);

}  // namespace esp
