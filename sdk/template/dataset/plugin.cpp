// The dataset @id@. As written: stripes, drawn on demand, whose direction is the class.
#include <espalier/dataset.hpp>
#include <random>
#include <string>
#include <vector>

class MyPlugin {
 public:
  struct Options {
    int64_t train = 96;
    int64_t validation = 24;
    static auto schema() {
      return esp::options(esp::option("train", &Options::train).at_least(1).doc("samples to train on"),
                          esp::option("validation", &Options::validation).at_least(1).doc("samples to score"));
    }
  };

  MyPlugin(esp::Host& host, const Options& options) : seed_(host.run().seed) {
    description_.set_name("@id@");
    description_.set_fingerprint(static_cast<uint64_t>(options.train) << 32 |
                                 static_cast<uint64_t>(options.validation));
    for (const char* name : {"across", "down"}) description_.add_class(name);
    description_.add_split("train", static_cast<uint64_t>(options.train));
    description_.add_split("validation", static_cast<uint64_t>(options.validation));
  }

  const esp_dataset_desc& describe() { return description_.desc(); }

  // What the model wants: refuse what is not offered, by name.
  void prepare(const esp_dataset_run& run) {
    for (uint32_t f = 0; f < run.n_fields; ++f) fields_.push_back(resolve(*run.fields[f]));
  }

  // On many threads at once, and the same for the same arguments: whatever is random depends on them and the seed
  // alone.
  void fetch(uint32_t split, uint64_t, esp::Slice<const uint64_t> indices, uint32_t, void* const* out) {
    for (size_t f = 0; f < fields_.size(); ++f) {
      for (size_t i = 0; i < indices.size(); ++i) write(fields_[f], split, indices[i], i, out[f]);
    }
  }

 private:
  enum class Kind { kPixels, kFlip, kLabel };
  struct Field {
    Kind kind;
    uint64_t height;
    uint64_t width;
  };

  static Field resolve(const esp_field& field) {
    const std::string name = field.name;
    if (name == "pixels" && field.dtype == ESP_U8 && field.ndim == 3 && field.shape[2] == 3) {
      return {Kind::kPixels, static_cast<uint64_t>(field.shape[0]), static_cast<uint64_t>(field.shape[1])};
    }
    if (name == "flip" && field.dtype == ESP_U8 && field.ndim == 0) return {Kind::kFlip, 1, 1};
    if (name == "label" && field.dtype == ESP_I64 && field.ndim == 0) return {Kind::kLabel, 1, 1};
    esp::fail(ESP_E_UNSUPPORTED, "the model wants an input \"", name, "\" that @id@ does not have");
  }

  void write(const Field& field, uint32_t split, uint64_t index, size_t row, void* out) const {
    const uint64_t label = index % 2;
    if (field.kind == Kind::kLabel) {
      static_cast<int64_t*>(out)[row] = static_cast<int64_t>(label);
    } else if (field.kind == Kind::kFlip) {
      static_cast<uint8_t*>(out)[row] = 0;
    } else {
      draw(field, label, seed_ * 1000003 + split * 7919 + index,
           static_cast<uint8_t*>(out) + row * field.height * field.width * 3);
    }
  }

  static void draw(const Field& field, uint64_t label, uint64_t seed, uint8_t* pixels) {
    std::mt19937_64 random(seed);
    const uint64_t phase = random() % 8;
    for (uint64_t y = 0; y < field.height; ++y) {
      for (uint64_t x = 0; x < field.width; ++x) {
        const uint64_t along = (label == 0 ? y : x) + phase;
        for (int c = 0; c < 3; ++c) *pixels++ = static_cast<uint8_t>((along / 4 % 2) * 180 + random() % 64);
      }
    }
  }

  const uint64_t seed_;
  esp::DatasetDescription description_;
  std::vector<Field> fields_;
};

ESP_PLUGIN("org.example.@name@", "0.1.0",
           esp::dataset<MyPlugin>("@id@", "stripes, drawn on demand", ESP_CAP_CPU | ESP_CAP_CUDA));
