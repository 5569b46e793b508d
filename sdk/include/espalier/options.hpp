// Typed options: a struct with member initialisers (the defaults) and a schema that names its members.
//
//   struct Options {
//     double momentum = 0.9;
//     int64_t period = 8;
//     static auto schema() {
//       return esp::options(esp::option("momentum", &Options::momentum).range(0, 1).doc("SGD momentum"),
//                           esp::option("period", &Options::period).range(1, 4096).doc("steps between averages"));
//     }
//   };
//
// Members: bool, integers, float, double, std::string (STR; PATH with .path(), ENUM with .choices()), esp::Bytes,
// esp::Seconds, and std::vector of int64_t, double or std::string.
#ifndef ESPALIER_OPTIONS_HPP
#define ESPALIER_OPTIONS_HPP

#include <cstdint>
#include <deque>
#include <espalier/failure.hpp>
#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// A size; TOML takes 4096 or "25MiB".
struct Bytes {
  uint64_t value = 0;
  operator uint64_t() const { return value; }
};

// A duration; TOML takes 2.5 or "90s".
struct Seconds {
  double value = 0;
  operator double() const { return value; }
};

namespace detail {

// Arrays that a list of texts points to.
using TextArrays = std::deque<std::vector<const char*>>;

// How a member of type T crosses the border: its option type, and both directions of its value.
template <class T, class = void>
struct OptionTraits;

template <>
struct OptionTraits<bool> {
  static constexpr uint32_t kType = ESP_OPT_BOOL;
  static void write(esp_value& out, const bool& value, TextArrays&) { out.v.i = value ? 1 : 0; }
  static void read(const esp_value& value, bool& out) { out = value.v.i != 0; }
};

template <class T>
struct OptionTraits<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  static constexpr uint32_t kType = ESP_OPT_I64;
  static void write(esp_value& out, const T& value, TextArrays&) { out.v.i = static_cast<int64_t>(value); }
  static void read(const esp_value& value, T& out) { out = static_cast<T>(value.v.i); }
};

template <class T>
struct OptionTraits<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  static constexpr uint32_t kType = ESP_OPT_F64;
  static void write(esp_value& out, const T& value, TextArrays&) { out.v.f = static_cast<double>(value); }
  static void read(const esp_value& value, T& out) { out = static_cast<T>(value.v.f); }
};

template <>
struct OptionTraits<Bytes> {
  static constexpr uint32_t kType = ESP_OPT_BYTES;
  static void write(esp_value& out, const Bytes& value, TextArrays&) { out.v.u = value.value; }
  static void read(const esp_value& value, Bytes& out) { out.value = value.v.u; }
};

template <>
struct OptionTraits<Seconds> {
  static constexpr uint32_t kType = ESP_OPT_DURATION;
  static void write(esp_value& out, const Seconds& value, TextArrays&) { out.v.f = value.value; }
  static void read(const esp_value& value, Seconds& out) { out.value = value.v.f; }
};

template <>
struct OptionTraits<std::string> {
  static constexpr uint32_t kType = ESP_OPT_STR;
  static void write(esp_value& out, const std::string& value, TextArrays&) { out.v.s = value.c_str(); }
  static void read(const esp_value& value, std::string& out) { out = value.v.s; }
};

template <class T>
struct OptionTraits<std::vector<T>> {
  static_assert(std::is_same_v<T, int64_t> || std::is_same_v<T, double> || std::is_same_v<T, std::string>,
                "a list option holds int64_t, double or std::string");
  static constexpr bool kTexts = std::is_same_v<T, std::string>;
  static constexpr uint32_t kType =
      kTexts ? ESP_OPT_LIST_STR : (std::is_same_v<T, double> ? ESP_OPT_LIST_F64 : ESP_OPT_LIST_I64);
  using Element = std::conditional_t<kTexts, const char*, T>;

  static void write(esp_value& out, const std::vector<T>& value, TextArrays& arrays) {
    out.n = static_cast<uint32_t>(value.size());
    if constexpr (kTexts) {
      arrays.emplace_back();
      for (const std::string& text : value) arrays.back().push_back(text.c_str());
      out.v.list = arrays.back().data();
    } else {
      out.v.list = value.data();
    }
  }
  static void read(const esp_value& value, std::vector<T>& out) {
    const auto* elements = static_cast<const Element*>(value.v.list);
    out.assign(elements, elements + value.n);
  }
};

// Whether a <= b, for two values of one numeric type.
inline bool at_most(const esp_value& a, const esp_value& b) {
  switch (a.type) {
    case ESP_OPT_I64:
      return a.v.i <= b.v.i;
    case ESP_OPT_BYTES:
      return a.v.u <= b.v.u;
    default:
      return a.v.f <= b.v.f;
  }
}

}  // namespace detail

// One option while it is described. O: the Options struct, T: the member's type.
template <class O, class T>
class Option {
 public:
  using Traits = detail::OptionTraits<T>;

  Option(const char* key, T O::*member) : member_(member) {
    option_.struct_size = sizeof option_;
    option_.type = Traits::kType;
    option_.key = key;
    option_.doc = "";
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool> && sizeof(T) < 8) {
      range(std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
    } else if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T> && !std::is_same_v<T, bool>) {
      at_least(0);
    }
  }

  Option& doc(const char* line) { return option_.doc = line, *this; }
  Option& since(const char* version) { return option_.since = version, *this; }
  Option& sweepable() { return flag(ESP_OPT_SWEEPABLE); }
  Option& advanced() { return flag(ESP_OPT_ADVANCED); }
  Option& affects_state() { return flag(ESP_OPT_AFFECTS_STATE); }
  Option& required() { return flag(ESP_OPT_REQUIRED); }
  Option& deprecated(const char* replaced_by) { return option_.replaced_by = replaced_by, flag(ESP_OPT_DEPRECATED); }

  // Inclusive bounds.
  template <class N>
  Option& at_least(N low) {
    return bound(option_.min, low);
  }
  template <class N>
  Option& at_most(N high) {
    return bound(option_.max, high);
  }
  template <class N, class M>
  Option& range(N low, M high) {
    return at_least(low), at_most(high);
  }

  // Makes a text an ENUM with these values.
  Option& choices(std::vector<const char*> values) {
    static_assert(std::is_same_v<T, std::string>, "choices are for std::string members");
    option_.type = ESP_OPT_ENUM;
    return choices_ = std::move(values), *this;
  }
  // Makes a text a PATH.
  Option& path() {
    static_assert(std::is_same_v<T, std::string>, "path is for std::string members");
    return option_.type = ESP_OPT_PATH, *this;
  }
  // Makes a text a PATH, or, where nothing is found at it, a name that the component looks up elsewhere.
  Option& path_or_name() { return path().flag(ESP_OPT_OR_NAME); }

 private:
  template <class>
  friend class Schema;

  Option& flag(uint32_t bit) { return option_.flags |= bit, *this; }

  template <class N>
  Option& bound(esp_value& out, N number) {
    static_assert(Traits::kType == ESP_OPT_I64 || Traits::kType == ESP_OPT_F64 || Traits::kType == ESP_OPT_BYTES ||
                      Traits::kType == ESP_OPT_DURATION,
                  "bounds are for numbers, sizes and durations");
    out.type = Traits::kType;
    if constexpr (Traits::kType == ESP_OPT_I64) {
      out.v.i = static_cast<int64_t>(number);
    } else if constexpr (Traits::kType == ESP_OPT_BYTES) {
      out.v.u = static_cast<uint64_t>(number);
    } else {
      out.v.f = static_cast<double>(number);
    }
    return *this;
  }

  T O::*member_;
  esp_option option_{};
  std::vector<const char*> choices_;
};

template <class O, class T>
Option<O, T> option(const char* key, T O::*member) {
  return Option<O, T>(key, member);
}

template <class... Options>
std::tuple<Options...> options(Options... all) {
  return {std::move(all)...};
}

// The options of a component as the border wants them, and back into the struct. Lives as long as the library.
template <class O>
class Schema {
 public:
  Schema() {
    std::apply([this](const auto&... option) { (this->add(option), ...); }, O::schema());
    for (const esp_option& option : options_) pointers_.push_back(&option);
  }
  Schema(const Schema&) = delete;
  Schema& operator=(const Schema&) = delete;

  Slice<const esp_option* const> options() const { return {pointers_.data(), pointers_.size()}; }

  // The struct with the values that the host validated. Throws Failure when they do not fit the schema.
  O read(const esp_config& config) const {
    if (config.n_values != options_.size()) {
      fail(ESP_E_ABI, "got ", config.n_values, " values for ", options_.size(), " options");
    }
    O out{};
    for (std::size_t i = 0; i < options_.size(); ++i) {
      const esp_value& value = config.values[i];
      if (value.type != options_[i].type) {
        fail(ESP_E_ABI, "option ", options_[i].key, " got a value of type ", value.type, ", declared is ",
             options_[i].type);
      }
      readers_[i](value, out);
    }
    return out;
  }

 private:
  template <class T>
  void add(const Option<O, T>& described) {
    using Traits = detail::OptionTraits<T>;
    esp_option option = described.option_;
    texts_.push_back(described.choices_);
    option.choices = option.type == ESP_OPT_ENUM ? texts_.back().data() : nullptr;
    option.n_choices = static_cast<uint32_t>(described.choices_.size());
    if ((option.flags & ESP_OPT_REQUIRED) == 0) {
      option.def.type = option.type;
      Traits::write(option.def, defaults_.*described.member_, texts_);
      check_default(option);
    }
    options_.push_back(option);
    readers_.push_back(
        [member = described.member_](const esp_value& value, O& out) { Traits::read(value, out.*member); });
  }

  static void check_default(const esp_option& option) {
    const bool fits = (option.min.type == 0 || detail::at_most(option.min, option.def)) &&
                      (option.max.type == 0 || detail::at_most(option.def, option.max));
    if (!fits) fail(ESP_E_INVALID, "the default of option ", option.key, " is outside its range");
    if (option.type != ESP_OPT_ENUM) return;
    for (uint32_t i = 0; i < option.n_choices; ++i) {
      if (std::strcmp(option.choices[i], option.def.v.s) == 0) return;
    }
    fail(ESP_E_INVALID, "the default of option ", option.key, " is not one of its choices");
  }

  const O defaults_{};  // the defaults' texts and lists are this object's
  detail::TextArrays texts_;
  std::deque<esp_option> options_;
  std::vector<const esp_option*> pointers_;
  std::vector<std::function<void(const esp_value&, O&)>> readers_;
};

// For components without options.
struct NoOptions {
  static std::tuple<> schema() { return {}; }
};

template <class O>
const Schema<O>& schema_of() {
  static const Schema<O> schema;
  return schema;
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_OPTIONS_HPP
