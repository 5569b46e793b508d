#include "runtime/train/model_folder.hpp"

#include <filesystem>
#include <system_error>

namespace esp::runtime {

namespace fs = std::filesystem;

void write_model_folder(Model& model, const std::vector<std::vector<float>>& values, const std::string& folder,
                        esp_dtype dtype) {
  std::vector<const float*> pointers;
  for (const auto& parameter : values) pointers.push_back(parameter.data());
  const fs::path part = folder + ".part";
  std::error_code failed;
  fs::remove_all(part, failed);  // of a run that was killed here
  fs::create_directories(part, failed);
  if (failed) throw Error(ExitCode::kResource, part.string() + ": cannot be made: " + failed.message());
  model.call("save", &esp_model_v1::save, part.c_str(), pointers.data(), static_cast<uint32_t>(pointers.size()), dtype);
  if (fs::is_directory(folder) && fs::is_empty(folder)) fs::remove(folder, failed);
  fs::rename(part, folder, failed);
  if (failed) {
    throw Error(ExitCode::kResource,
                folder + ": cannot be put in place: " + failed.message() + "; the weights are in " + part.string());
  }
}

}  // namespace esp::runtime
