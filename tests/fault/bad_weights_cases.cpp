// Weights: HF folders and safetensors files.
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bad_input.hpp"

namespace esp::test {
namespace {

namespace fs = std::filesystem;
using Damage = std::function<void(const fs::path& folder)>;

// Exit code 4: damaged. 2: sound, but nothing that this model computes.
BadInput weights(const char* name, std::vector<std::string> says, Damage damage, int exit_code = 4) {
  return {name, exit_code, std::move(says), [damage](const Scratch& scratch) {
            const std::string folder = copy_weights(scratch);
            damage(folder);
            return good_run(scratch, {"--model.weights=" + folder});
          }};
}

// Rewrites a key of config.json.
BadInput config(const char* name, std::string key, nlohmann::json value, std::vector<std::string> says,
                int exit_code = 4) {
  return weights(
      name, std::move(says),
      [key, value](const fs::path& folder) {
        nlohmann::json content = nlohmann::json::parse(read_file(folder / "config.json"));
        content[key] = value;
        write_file(folder / "config.json", content.dump());
      },
      exit_code);
}

std::string length_bytes(uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}

// Rewrites the header of the safetensors file; tensors' bytes stay.
BadInput header(const char* name, std::vector<std::string> says, std::function<void(std::string&)> change) {
  return weights(name, std::move(says), [change](const fs::path& folder) {
    const std::string bytes = read_file(folder / "model.safetensors");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    std::string text = bytes.substr(sizeof length, length);
    change(text);
    write_file(folder / "model.safetensors", length_bytes(text.size()) + text + bytes.substr(sizeof length + length));
  });
}

void replace(std::string& text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  if (at == std::string::npos) throw std::runtime_error("the header has no " + what);
  text.replace(at, what.size(), by);
}

constexpr const char* kTensor = "vit.encoder.layer.1.attention.attention.key.weight";

// The first offsets of that tensor become these.
void move_tensor(std::string& text, const std::string& offsets) {
  const size_t begin = text.find("\"data_offsets\":[", text.find(kTensor)) + std::strlen("\"data_offsets\":[");
  text.replace(begin, text.find(']', begin) - begin, offsets);
}

std::vector<BadInput> folder_cases() {
  return {
      {"WeightsThatAreMissing",
       4,
       {"no/such/weights"},
       [](const Scratch& scratch) { return good_run(scratch, {"--model.weights=no/such/weights"}); }},
      weights("WeightsWithoutConfig", {"config.json"}, [](const fs::path& p) { fs::remove(p / "config.json"); }),
      weights("WeightsWithoutTensors", {"model.safetensors"},
              [](const fs::path& p) { fs::remove(p / "model.safetensors"); }),
      weights("WeightsAsPickle", {"pytorch_model.bin", "safetensors"},
              [](const fs::path& p) { fs::rename(p / "model.safetensors", p / "pytorch_model.bin"); }),
      weights("WeightsWithBrokenConfig", {"config.json"},
              [](const fs::path& p) { write_file(p / "config.json", "{\"a\": "); }),
      weights("WeightsWithBrokenProcessor", {"preprocessor_config.json"},
              [](const fs::path& p) { write_file(p / "preprocessor_config.json", "[1, 2"); }),
      weights("WeightsWithOtherResample", {"preprocessor_config.json", "resample"},
              [](const fs::path& p) {
                nlohmann::json content = nlohmann::json::parse(read_file(p / "preprocessor_config.json"));
                content["resample"] = 3;
                write_file(p / "preprocessor_config.json", content.dump());
              }),
      config("WeightsOfAnotherKind", "model_type", "swin", {"config.json", "swin"}),
      config("WeightsWithOtherActivation", "hidden_act", "relu", {"hidden_act", "relu"}),
      config("HeadsThatDoNotDivide", "num_attention_heads", 7, {"num_attention_heads", "7", "48"}),
      config("PatchThatDoesNotDivide", "patch_size", 7, {"patch_size", "7", "32"}),
      config("TextForHiddenSize", "hidden_size", "wide", {"config.json", "hidden_size"}),
      config("NegativeHiddenSize", "hidden_size", -48, {"config.json", "hidden_size", "-48"}),
      config("HugeHiddenSize", "hidden_size", 4000000000000, {"hidden_size"}),
      config("HiddenSizeThatTensorsContradict", "hidden_size", 96, {"48", "96"}),
      config("DepthThatTensorsContradict", "num_hidden_layers", 4, {"vit.encoder.layer.3."}),
  };
}

std::vector<BadInput> tensor_cases() {
  return {
      weights("TensorsCutInHalf", {"model.safetensors"},
              [](const fs::path& p) { fs::resize_file(p / "model.safetensors", 100'000); }),
      weights("TensorsOfThreeBytes", {"model.safetensors"},
              [](const fs::path& p) { fs::resize_file(p / "model.safetensors", 3); }),
      weights(
          "TensorsWithTrailingBytes", {"model.safetensors"},
          [](const fs::path& p) { write_file(p / "model.safetensors", read_file(p / "model.safetensors") + "tail"); }),
      weights("HeaderLongerThanTheFile", {"model.safetensors"},
              [](const fs::path& p) {
                write_file(p / "model.safetensors",
                           length_bytes(1ull << 40) + read_file(p / "model.safetensors").substr(8));
              }),
      header("HeaderThatIsNoJson", {}, [](std::string& text) { text[0] = '<'; }),
      header("TensorOfUnknownType", {"F33"}, [](std::string& text) { replace(text, "\"F32\"", "\"F33\""); }),
      header("TensorOfUnknownName", {"classifier.wight"},
             [](std::string& text) { replace(text, "\"classifier.weight\"", "\"classifier.wight\""); }),
      header("TensorOfAnotherShape", {"vit.embeddings.cls_token"},
             [](std::string& text) { replace(text, "\"shape\":[1,1,48]", "\"shape\":[1,2,24]"); }),
      header("TensorWhoseShapeOverflows", {"classifier.weight"},
             [](std::string& text) { replace(text, "\"shape\":[3,48]", "\"shape\":[4294967296,4294967296]"); }),
      header("TensorsThatOverlap", {kTensor}, [](std::string& text) { move_tensor(text, "0,9216"); }),
      header("TensorBeyondTheFile", {"model.safetensors"},
             [](std::string& text) { move_tensor(text, "99999990784,100000000000"); }),
      header("TensorWithNegativeOffset", {kTensor}, [](std::string& text) { move_tensor(text, "-9216,0"); }),
  };
}

}  // namespace

std::vector<BadInput> bad_weights_cases() {
  std::vector<BadInput> cases = folder_cases();
  for (const BadInput& one : tensor_cases()) cases.push_back(one);
  return cases;
}

}  // namespace esp::test
