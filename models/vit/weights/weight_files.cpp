#include "weight_files.hpp"

#include <espalier/failure.hpp>
#include <filesystem>
#include <set>

#include "../io/strict_json.hpp"
#include "hub_cache.hpp"

namespace esp::vit {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

bool is_folder(const fs::path& path) {
  std::error_code none;
  return fs::is_directory(path, none);
}

// Pickles run code when they are read, so they never are.
[[noreturn]] void refuse_pickle(const std::string& path) {
  fail(ESP_E_DATA, shown(path),
       ": is a pickle, which can run code when it is read; convert it to model.safetensors (in Python: "
       "ViTForImageClassification.from_pretrained(folder).save_pretrained(new_folder))");
}

bool is_pickle_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

// Where `weights` really lies.
std::string located(const std::string& weights) {
  std::error_code none;
  if (fs::exists(weights, none)) return weights;
  if (!is_hub_id(weights)) fail(ESP_E_IO, "weights: there is no file or folder ", shown(weights));
  std::string snapshot = find_in_hub_cache(weights);
  if (!snapshot.empty()) return snapshot;
  const size_t at = weights.find('@');
  const std::string revision = at == std::string::npos ? "" : " --revision " + weights.substr(at + 1);
  fail(ESP_E_IO, "weights: ", shown(weights), " is no file or folder here, and no model of that name is in the cache ",
       shown(hub_cache_root()), "; fetch it with: hf download ", shown(weights.substr(0, at)), shown(revision));
}

}  // namespace

WeightFiles::WeightFiles(const std::string& weights) {
  const std::string path = located(weights);
  origin_ = path;
  if (is_folder(path)) {
    open_folder(path);
    return;
  }
  if (is_pickle_name(path)) refuse_pickle(path);
  const SafetensorsFile& file = open(path);
  for (const TensorEntry& tensor : file.header().tensors) tensors_[tensor.name] = {&file, &tensor};
  find_companions(fs::path(path).parent_path().string());
}

const SafetensorsFile& WeightFiles::open(const std::string& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  return *files_.back();
}

void WeightFiles::find_companions(const std::string& folder) {
  const fs::path at = folder.empty() ? "." : folder;
  if (is_file(at / "config.json")) config_ = (at / "config.json").string();
  if (is_file(at / "preprocessor_config.json")) processor_ = (at / "preprocessor_config.json").string();
}

void WeightFiles::open_folder(const std::string& folder) {
  find_companions(folder);
  const fs::path at = folder;
  if (config_.empty()) fail(ESP_E_DATA, shown(folder), ": holds no config.json; it is no Hugging Face model folder");
  if (is_file(at / "model.safetensors")) {
    const SafetensorsFile& file = open((at / "model.safetensors").string());
    for (const TensorEntry& tensor : file.header().tensors) tensors_[tensor.name] = {&file, &tensor};
  } else if (is_file(at / "model.safetensors.index.json")) {
    open_sharded(folder, (at / "model.safetensors.index.json").string());
  } else if (is_file(at / "pytorch_model.bin") || is_file(at / "pytorch_model.bin.index.json")) {
    refuse_pickle((at / "pytorch_model.bin").string());
  } else {
    fail(ESP_E_DATA, shown(folder), ": holds neither model.safetensors nor model.safetensors.index.json");
  }
}

void WeightFiles::open_sharded(const std::string& folder, const std::string& index) {
  const nlohmann::json json = read_object(index);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) fail(ESP_E_DATA, shown(index), ": has no map weight_map");
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    // A plain name: an index must not lead out of its folder.
    if (name.empty() || name.find('/') != std::string::npos || name.front() == '.') {
      fail(ESP_E_DATA, shown(index), ": ", shown(tensor), " is said to be in ", shown(shard.dump()),
           ", which is no file name");
    }
    const SafetensorsFile*& file = shards[name];
    if (file == nullptr) file = &open((fs::path(folder) / name).string());
    const TensorEntry* entry = file->find(tensor);
    if (entry == nullptr)
      fail(ESP_E_DATA, shown(file->path()), ": lacks ", shown(tensor), ", which the index says it holds");
    tensors_[tensor] = {file, entry};
  }
  for (const auto& file : files_) {
    for (const TensorEntry& tensor : file->header().tensors) {
      if (map->find(tensor.name) == map->end()) {
        fail(ESP_E_DATA, shown(file->path()), ": holds ", shown(tensor.name), ", which the index does not name");
      }
    }
  }
}

}  // namespace esp::vit
