// A dataset in CSV: train.csv and validation.csv in a folder, a sample a line: its class, then height * width * 3
// bytes.
#include <algorithm>
#include <espalier/dataset.hpp>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

class CsvImages {
 public:
  struct Options {
    std::string path;
    static auto schema() {
      return esp::options(
          esp::option("path", &Options::path).path().required().doc("folder of train.csv and validation.csv"));
    }
  };

  CsvImages(esp::Host&, const Options& options) {
    std::set<std::string> classes;
    for (const char* name : {"train", "validation"}) {
      splits_.push_back(read(options.path + "/" + name + ".csv"));
      for (const Sample& sample : splits_.back()) classes.insert(sample.label);
    }
    for (const std::string& name : classes) description_.add_class(name);
    classes_.assign(classes.begin(), classes.end());
    description_.add_split("train", splits_[0].size());
    description_.add_split("validation", splits_[1].size());
    description_.set_name(options.path);
    description_.set_fingerprint(fingerprint_);
  }

  const esp_dataset_desc& describe() { return description_.desc(); }

  void prepare(const esp_dataset_run& run) {
    for (uint32_t f = 0; f < run.n_fields; ++f) fields_.push_back(resolve(*run.fields[f]));
  }

  void fetch(uint32_t split, uint64_t, esp::Slice<const uint64_t> indices, uint32_t, void* const* out) {
    for (size_t f = 0; f < fields_.size(); ++f) {
      for (size_t i = 0; i < indices.size(); ++i) {
        const Sample& sample = splits_[split][indices[i]];
        auto* bytes = static_cast<uint8_t*>(out[f]);
        if (fields_[f] == "pixels")
          std::copy(sample.pixels.begin(), sample.pixels.end(), bytes + i * sample.pixels.size());
        if (fields_[f] == "flip") bytes[i] = 0;
        if (fields_[f] == "label") static_cast<int64_t*>(out[f])[i] = number_of(sample.label);
      }
    }
  }

 private:
  struct Sample {
    std::string label, place;
    std::vector<uint8_t> pixels;
  };

  std::vector<Sample> read(const std::string& path) {
    std::ifstream in(path);
    if (!in) esp::fail(ESP_E_IO, path, " cannot be read");
    std::vector<Sample> samples;
    std::string line;
    while (std::getline(in, line)) {
      for (const char c : line) fingerprint_ = (fingerprint_ ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
      samples.push_back({"", path + ":" + std::to_string(samples.size() + 1), {}});
      std::istringstream cells(line);
      std::getline(cells, samples.back().label, ',');
      for (std::string cell; std::getline(cells, cell, ',');)
        samples.back().pixels.push_back(byte(cell, samples.back()));
    }
    return samples;
  }

  static uint8_t byte(const std::string& cell, const Sample& sample) {
    const bool digits = !cell.empty() && cell.size() <= 3 && cell.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoi(cell) > 255) esp::fail(ESP_E_DATA, sample.place, ": \"", cell, "\" is no byte");
    return static_cast<uint8_t>(std::stoi(cell));
  }

  std::string resolve(const esp_field& field) const {
    const std::string name = field.name;
    if (name == "pixels" && field.dtype == ESP_U8 && field.ndim == 3) {
      const auto wanted = static_cast<size_t>(field.shape[0] * field.shape[1] * field.shape[2]);
      for (const auto& split : splits_) {
        for (const Sample& sample : split) {
          if (sample.pixels.size() != wanted) {
            esp::fail(ESP_E_DATA, sample.place, ": ", sample.pixels.size(), " bytes, the model wants ", wanted);
          }
        }
      }
    } else if (!(name == "flip" && field.dtype == ESP_U8) && !(name == "label" && field.dtype == ESP_I64)) {
      esp::fail(ESP_E_UNSUPPORTED, "csv-images has no input \"", name, "\"");
    }
    return name;
  }

  int64_t number_of(const std::string& label) const {
    return std::lower_bound(classes_.begin(), classes_.end(), label) - classes_.begin();
  }

  uint64_t fingerprint_ = 0xcbf29ce484222325u;
  std::vector<std::vector<Sample>> splits_;
  std::vector<std::string> classes_, fields_;
  esp::DatasetDescription description_;
};

ESP_PLUGIN("org.espalier.examples.csv", "1.0.0",
           esp::dataset<CsvImages>("csv-images", "images as lines of bytes", ESP_CAP_CPU | ESP_CAP_CUDA));
