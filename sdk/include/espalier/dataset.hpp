// A dataset as a C++ class. All members are required. Order, threads and meaning: see dataset.h.
//
//   class MyData {
//    public:
//     MyData(esp::Host& host, const Options& options);
//     const esp_dataset_desc& describe();                                   // see DatasetDescription
//     void prepare(const esp_dataset_run& run);
//     void fetch(uint32_t split, uint64_t epoch, esp::Slice<const uint64_t> indices, uint32_t flags,
//                void* const* out);                                          // from many threads at once
//   };
#ifndef ESPALIER_DATASET_HPP
#define ESPALIER_DATASET_HPP

#include <espalier/dataset.h>

#include <deque>
#include <espalier/plugin.hpp>
#include <string>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// Builds an esp_dataset_desc and owns what it points to.
class DatasetDescription {
 public:
  DatasetDescription() = default;
  DatasetDescription(const DatasetDescription&) = delete;
  DatasetDescription& operator=(const DatasetDescription&) = delete;

  void set_name(std::string name) { name_ = std::move(name); }
  void set_fingerprint(uint64_t fingerprint) { fingerprint_ = fingerprint; }
  void add_class(std::string name) { classes_.push_back(std::move(name)); }
  void add_note(std::string line) { notes_.push_back(std::move(line)); }
  void add_split(std::string name, uint64_t samples) {
    const std::string& kept = split_names_.emplace_back(std::move(name));
    splits_.push_back(esp_split{sizeof(esp_split), 0, kept.c_str(), samples});
  }

  // Everything added so far; valid until the next add and for the life of this object.
  const esp_dataset_desc& desc() {
    split_list_.clear();
    for (const esp_split& split : splits_) split_list_.push_back(&split);
    class_list_ = texts(classes_);
    note_list_ = texts(notes_);
    desc_ = esp_dataset_desc{};
    desc_.struct_size = sizeof desc_;
    desc_.n_splits = static_cast<uint32_t>(splits_.size());
    desc_.n_classes = static_cast<uint32_t>(classes_.size());
    desc_.n_notes = static_cast<uint32_t>(notes_.size());
    desc_.splits = split_list_.data();
    desc_.classes = class_list_.data();
    desc_.name = name_.c_str();
    desc_.notes = note_list_.data();
    desc_.fingerprint = fingerprint_;
    return desc_;
  }

 private:
  static std::vector<const char*> texts(const std::deque<std::string>& from) {
    std::vector<const char*> out;
    for (const std::string& text : from) out.push_back(text.c_str());
    return out;
  }

  std::string name_;
  uint64_t fingerprint_ = 0;
  std::deque<std::string> classes_, notes_, split_names_;
  std::deque<esp_split> splits_;
  std::vector<const esp_split*> split_list_;
  std::vector<const char*> class_list_, note_list_;
  esp_dataset_desc desc_{};
};

namespace detail {

template <class D>
class DatasetTable {
 public:
  static const void* of(const char* id) {
    static const esp_dataset_v1 table = {sizeof(esp_dataset_v1), 0, &describe, &prepare, &fetch, &Instance<D>::destroy};
    return std::strcmp(id, ESP_DATASET_ID) == 0 ? &table : nullptr;
  }

 private:
  static D& self_of(void* self) { return Instance<D>::of(self); }

  static esp_status describe(void* self, const esp_dataset_desc** out, esp_error* error) noexcept {
    return guarded("describe", error, [&] { *out = &self_of(self).describe(); });
  }
  static esp_status prepare(void* self, const esp_dataset_run* run, esp_error* error) noexcept {
    return guarded("prepare", error, [&] { self_of(self).prepare(*run); });
  }
  static esp_status fetch(void* self, uint32_t split, uint64_t epoch, const uint64_t* indices, uint32_t n,
                          uint32_t flags, void* const* out, esp_error* error) noexcept {
    return guarded("fetch", error,
                   [&] { self_of(self).fetch(split, epoch, Slice<const uint64_t>(indices, n), flags, out); });
  }
};

}  // namespace detail

// A dataset for ESP_PLUGIN. caps: ESP_CAP_ bits.
template <class D>
constexpr Registration dataset(const char* id, const char* summary, uint64_t caps) {
  return detail::registration<D>(ESP_DATASET, id, summary, caps, &detail::DatasetTable<D>::of);
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_DATASET_HPP
