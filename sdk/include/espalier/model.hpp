// A model as a C++ class. All members below are required but for capture and memory_stats. Order, threads and meaning:
// see model.h.
//
//   class MyModel {
//    public:
//     MyModel(esp::Host& host, const Options& options);
//     const esp_model_desc& describe();                                     // see ModelDescription
//     esp_model_need plan(const esp_model_run& run);                        // struct_size is filled in
//     void prepare(const esp_model_run& run);
//     void init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out);   // from any thread
//     void bind(esp::Slice<const esp_bind> binds);
//     void begin_micro(const esp_step& step, esp::Slice<const esp_tensor* const> inputs);
//     void forward_unit(const esp_step& step, uint32_t unit);
//     void loss(const esp_step& step);
//     void backward_unit(const esp_step& step, uint32_t unit);
//     void capture(uint64_t key, bool begin);
//     void memory_stats(uint64_t* by_tag);                                  // [ESP_N_TAGS]
//     void save(const char* folder, esp::Slice<const float* const> values, esp_dtype dtype);
//   };
#ifndef ESPALIER_MODEL_HPP
#define ESPALIER_MODEL_HPP

#include <espalier/model.h>

#include <deque>
#include <espalier/plugin.hpp>
#include <string>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// Builds an esp_model_desc and owns what it points to.
class ModelDescription {
 public:
  ModelDescription() = default;
  ModelDescription(const ModelDescription&) = delete;
  ModelDescription& operator=(const ModelDescription&) = delete;

  void set_name(std::string name) { name_ = std::move(name); }
  void set_classes(uint32_t n) { n_classes_ = n; }

  // Each returns the index of what was added. flags: ESP_PARAM_ bits.
  uint32_t add_param(std::string name, std::vector<int64_t> shape, uint32_t flags, uint32_t group = 0) {
    ParamStore& store = params_.emplace_back();
    store.name = std::move(name);
    store.shape = std::move(shape);
    store.param = esp_param{sizeof(esp_param),
                            static_cast<uint32_t>(params_.size() - 1),
                            store.name.c_str(),
                            store.shape.data(),
                            static_cast<uint32_t>(store.shape.size()),
                            flags,
                            1,
                            group,
                            0};
    for (int64_t extent : store.shape) store.param.numel *= static_cast<uint64_t>(extent);
    return store.param.id;
  }
  // uses: ids of the parameters that the unit reads. flops: forward FLOPs of one sample.
  uint32_t add_unit(std::string name, std::vector<uint32_t> uses, double flops) {
    UnitStore& store = units_.emplace_back();
    store.name = std::move(name);
    store.uses = std::move(uses);
    store.unit = esp_unit{
        sizeof(esp_unit), 0, store.name.c_str(), store.uses.data(), static_cast<uint32_t>(store.uses.size()), 0};
    flops_.push_back(flops);
    return static_cast<uint32_t>(units_.size() - 1);
  }
  // shape: of one sample.
  uint32_t add_input(std::string name, esp_dtype dtype, std::vector<int64_t> shape) {
    InputStore& store = inputs_.emplace_back();
    store.name = std::move(name);
    store.shape = std::move(shape);
    store.field = esp_field{
        sizeof(esp_field), dtype, store.name.c_str(), store.shape.data(), static_cast<uint32_t>(store.shape.size()), 0};
    return static_cast<uint32_t>(inputs_.size() - 1);
  }
  void add_recompute(std::string level) { recompute_.push_back(std::move(level)); }
  void add_note(std::string line) { notes_.push_back(std::move(line)); }
  void add_precision(uint32_t precision) { precisions_.push_back(precision); }

  const esp_param& param(uint32_t id) const { return params_[id].param; }
  const esp_unit& unit(uint32_t index) const { return units_[index].unit; }
  uint32_t n_params() const { return static_cast<uint32_t>(params_.size()); }
  uint32_t n_units() const { return static_cast<uint32_t>(units_.size()); }

  // Everything added so far; valid until the next add and for the life of this object.
  const esp_model_desc& desc() {
    param_list_.clear();
    unit_list_.clear();
    input_list_.clear();
    for (const ParamStore& store : params_) param_list_.push_back(&store.param);
    for (const UnitStore& store : units_) unit_list_.push_back(&store.unit);
    for (const InputStore& store : inputs_) input_list_.push_back(&store.field);
    recompute_list_ = texts(recompute_);
    note_list_ = texts(notes_);
    desc_ = esp_model_desc{};
    desc_.struct_size = sizeof desc_;
    desc_.n_params = n_params();
    desc_.n_units = n_units();
    desc_.n_inputs = static_cast<uint32_t>(inputs_.size());
    desc_.n_classes = n_classes_;
    desc_.n_recompute = static_cast<uint32_t>(recompute_.size());
    desc_.name = name_.c_str();
    desc_.params = param_list_.data();
    desc_.units = unit_list_.data();
    desc_.unit_flops = flops_.data();
    desc_.inputs = input_list_.data();
    desc_.recompute = recompute_list_.data();
    desc_.notes = note_list_.data();
    desc_.n_notes = static_cast<uint32_t>(notes_.size());
    desc_.n_precisions = static_cast<uint32_t>(precisions_.size());
    desc_.precisions = precisions_.data();
    return desc_;
  }

 private:
  struct ParamStore {
    std::string name;
    std::vector<int64_t> shape;
    esp_param param{};
  };
  struct UnitStore {
    std::string name;
    std::vector<uint32_t> uses;
    esp_unit unit{};
  };
  struct InputStore {
    std::string name;
    std::vector<int64_t> shape;
    esp_field field{};
  };

  static std::vector<const char*> texts(const std::deque<std::string>& from) {
    std::vector<const char*> out;
    for (const std::string& text : from) out.push_back(text.c_str());
    return out;
  }

  std::string name_;
  uint32_t n_classes_ = 0;
  std::deque<ParamStore> params_;
  std::deque<UnitStore> units_;
  std::deque<InputStore> inputs_;
  std::deque<std::string> recompute_, notes_;
  std::vector<double> flops_;
  std::vector<uint32_t> precisions_;
  std::vector<const esp_param*> param_list_;
  std::vector<const esp_unit*> unit_list_;
  std::vector<const esp_field*> input_list_;
  std::vector<const char*> recompute_list_, note_list_;
  esp_model_desc desc_{};
};

namespace detail {

ESP_HAS_MEMBER(capture);
ESP_HAS_MEMBER(memory_stats);

template <class M>
class ModelTable {
 public:
  static const void* of(const char* id) {
    static const esp_model_v1 table = make();
    return std::strcmp(id, ESP_MODEL_ID) == 0 ? &table : nullptr;
  }

 private:
  static M& self_of(void* self) { return Instance<M>::of(self); }

  static esp_status describe(void* self, const esp_model_desc** out, esp_error* error) noexcept {
    return guarded("describe", error, [&] { *out = &self_of(self).describe(); });
  }
  static esp_status plan(void* self, const esp_model_run* run, esp_model_need* out, esp_error* error) noexcept {
    return guarded("plan", error, [&] { answer(out, self_of(self).plan(*run)); });
  }
  static esp_status prepare(void* self, const esp_model_run* run, esp_error* error) noexcept {
    return guarded("prepare", error, [&] { self_of(self).prepare(*run); });
  }
  static esp_status init_range(void* self, uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out,
                               esp_error* error) noexcept {
    return guarded("init_range", error, [&] { self_of(self).init_range(param, seed, lo, hi, out); });
  }
  static esp_status bind(void* self, const esp_bind* binds, uint32_t n, esp_error* error) noexcept {
    return guarded("bind", error, [&] { self_of(self).bind(Slice<const esp_bind>(binds, n)); });
  }
  static esp_status begin_micro(void* self, const esp_step* step, const esp_tensor* const* inputs, uint32_t n,
                                esp_error* error) noexcept {
    return guarded("begin_micro", error,
                   [&] { self_of(self).begin_micro(*step, Slice<const esp_tensor* const>(inputs, n)); });
  }
  static esp_status forward_unit(void* self, const esp_step* step, uint32_t unit, esp_error* error) noexcept {
    return guarded("forward_unit", error, [&] { self_of(self).forward_unit(*step, unit); });
  }
  static esp_status loss(void* self, const esp_step* step, esp_error* error) noexcept {
    return guarded("loss", error, [&] { self_of(self).loss(*step); });
  }
  static esp_status backward_unit(void* self, const esp_step* step, uint32_t unit, esp_error* error) noexcept {
    return guarded("backward_unit", error, [&] { self_of(self).backward_unit(*step, unit); });
  }
  static esp_status save(void* self, const char* folder, const float* const* values, uint32_t n, esp_dtype dtype,
                         esp_error* error) noexcept {
    return guarded("save", error, [&] { self_of(self).save(folder, Slice<const float* const>(values, n), dtype); });
  }

  static esp_model_v1 make() {
    esp_model_v1 table{};
    table.struct_size = sizeof table;
    table.describe = &describe;
    table.plan = &plan;
    table.prepare = &prepare;
    table.init_range = &init_range;
    table.bind = &bind;
    table.begin_micro = &begin_micro;
    table.forward_unit = &forward_unit;
    table.loss = &loss;
    table.backward_unit = &backward_unit;
    table.save = &save;
    table.destroy = &Instance<M>::destroy;
    if constexpr (HasMember_capture<M>::value) {
      table.capture = [](void* self, uint64_t key, uint32_t begin, esp_error* error) {
        return guarded("capture", error, [&] { self_of(self).capture(key, begin != 0); });
      };
    }
    if constexpr (HasMember_memory_stats<M>::value) {
      table.memory_stats = [](void* self, uint64_t* by_tag, esp_error* error) {
        return guarded("memory_stats", error, [&] { self_of(self).memory_stats(by_tag); });
      };
    }
    return table;
  }
};

}  // namespace detail

// A model for ESP_PLUGIN. caps: ESP_CAP_ bits.
template <class M>
constexpr Registration model(const char* id, const char* summary, uint64_t caps) {
  return detail::registration<M>(ESP_MODEL, id, summary, caps, &detail::ModelTable<M>::of);
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_MODEL_HPP
