// Models that Hugging Face's tools have downloaded to this machine. Nothing is ever fetched here.
#pragma once

#include <string>

namespace esp::vit {

// Whether a text has the form of a hub id: "name" or "organisation/name", optionally "@revision".
bool is_hub_id(const std::string& text);

// The root of the cache, by the environment: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/...
std::string hub_cache_root();

// The snapshot folder of a hub id in the cache, or an empty string if it is not there.
std::string find_in_hub_cache(const std::string& id);

}  // namespace esp::vit
