#include "modules/option_checks.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "modules/load_error.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

constexpr uint32_t kMaxOptions = 1024;
constexpr uint32_t kMaxChoices = 1024;
constexpr uint32_t kMaxElements = 4096;  // of a list
constexpr size_t kMaxKeyLength = 64;
constexpr size_t kMaxText = 4096;
constexpr uint32_t kCriticalFlags = 0xffff0000u;

// One option under examination; every member throws LoadError.
class OptionCheck {
 public:
  OptionCheck(const esp_option& option, const std::string& owner, const std::string& path)
      : option_(option), path_(path) {
    const std::string_view key = option.key == nullptr ? "" : bounded(option.key, kMaxKeyLength + 1);
    name_ = owner + ": option \"" + one_line(key) + "\"";
    require(well_formed(key), "has an ill-formed key; keys look like bucket_size ([a-z][a-z0-9_]*)");
  }

  void run() const {
    require(option_.type >= ESP_OPT_BOOL && option_.type <= ESP_OPT_LIST_STR,
            "has the unknown type " + std::to_string(option_.type));
    require((option_.flags & kCriticalFlags) == 0, "has a flag that this host must know and does not");
    check_line(option_.doc, "doc");
    if (option_.since != nullptr) check_line(option_.since, "since");
    if (option_.replaced_by != nullptr) check_line(option_.replaced_by, "replaced_by");
    check_choices();
    check_bounds();
    check_default();
  }

 private:
  static bool well_formed(std::string_view key) {
    return !key.empty() && key.size() <= kMaxKeyLength && key[0] >= 'a' && key[0] <= 'z' &&
           std::all_of(key.begin(), key.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
  }

  void require(bool holds, const std::string& text) const {
    if (!holds) throw LoadError(37, path_, name_ + " " + text);
  }

  void check_line(const char* text, const std::string& what) const {
    require(text != nullptr, "has no " + what);
    const std::string_view value = bounded(text, kMaxText + 1);
    require(!value.empty() && value.size() <= kMaxText && is_plain_text(value),
            "has a " + what + " that is not one line of UTF-8");
  }

  void check_choices() const {
    if (option_.type != ESP_OPT_ENUM) return require(option_.n_choices == 0, "has choices, but is no ENUM");
    require(option_.n_choices >= 1 && option_.n_choices <= kMaxChoices && option_.choices != nullptr,
            "is an ENUM with " + std::to_string(option_.n_choices) + " choices");
    const std::span choices(option_.choices, option_.n_choices);
    for (size_t i = 0; i < choices.size(); ++i) {
      check_line(choices[i], "choice");
      for (size_t j = 0; j < i; ++j) {
        require(std::string_view(choices[i]) != choices[j], "has the choice \"" + std::string(choices[i]) + "\" twice");
      }
    }
  }

  bool is_number() const {
    return option_.type == ESP_OPT_I64 || option_.type == ESP_OPT_F64 || option_.type == ESP_OPT_BYTES ||
           option_.type == ESP_OPT_DURATION;
  }

  bool is_real() const { return option_.type == ESP_OPT_F64 || option_.type == ESP_OPT_DURATION; }

  bool less(const esp_value& a, const esp_value& b) const {
    if (is_real()) return a.v.f < b.v.f;
    return option_.type == ESP_OPT_BYTES ? a.v.u < b.v.u : a.v.i < b.v.i;
  }

  void check_bounds() const {
    for (const esp_value* bound : {&option_.min, &option_.max}) {
      if (bound->type == 0) continue;
      require(is_number(), "has a bound, but is no number");
      require(bound->type == option_.type, "has a bound of another type");
      require(!is_real() || !std::isnan(bound->v.f), "has a bound that is not a number");
    }
    require(option_.min.type == 0 || option_.max.type == 0 || !less(option_.max, option_.min),
            "has a minimum above its maximum");
  }

  void check_default() const {
    const bool required = (option_.flags & ESP_OPT_REQUIRED) != 0;
    if (option_.def.type == 0) return require(required, "has no default and is not REQUIRED");
    require(!required, "is REQUIRED and has a default");
    require(option_.def.type == option_.type, "has a default of another type");
    if (option_.type >= ESP_OPT_LIST_I64) return check_list();
    if (option_.type == ESP_OPT_STR || option_.type == ESP_OPT_PATH) return check_string(option_.def.v.s);
    if (option_.type == ESP_OPT_ENUM) return check_choice();
    if (option_.type == ESP_OPT_BOOL)
      return require(option_.def.v.i == 0 || option_.def.v.i == 1, "has a default beside 0 and 1");
    require(!is_real() || std::isfinite(option_.def.v.f), "has a default that is not finite");
    const bool below = option_.min.type != 0 && less(option_.def, option_.min);
    const bool above = option_.max.type != 0 && less(option_.max, option_.def);
    require(!below && !above, "has a default outside its range");
  }

  void check_string(const char* text) const {
    require(text != nullptr, "has a default that is NULL; use an empty string");
    const std::string_view value = bounded(text, kMaxText + 1);
    require(value.size() <= kMaxText && is_plain_text(value), "has a default that is not one line of UTF-8");
  }

  void check_choice() const {
    check_string(option_.def.v.s);
    const std::span choices(option_.choices, option_.n_choices);
    require(std::any_of(choices.begin(), choices.end(),
                        [&](const char* choice) { return std::string_view(choice) == option_.def.v.s; }),
            "has the default \"" + std::string(option_.def.v.s) + "\", which is none of its choices");
  }

  void check_list() const {
    const esp_value& list = option_.def;
    require(list.n <= kMaxElements && (list.n == 0 || list.v.list != nullptr), "has a default list without elements");
    if (option_.type != ESP_OPT_LIST_STR) return;
    for (uint32_t i = 0; i < list.n; ++i) check_string(static_cast<const char* const*>(list.v.list)[i]);
  }

  const esp_option& option_;
  const std::string& path_;
  std::string name_;
};

}  // namespace

void check_options(const esp_option* const* options, uint32_t n, const std::string& owner, const std::string& path) {
  if (n == 0) return;
  if (n > kMaxOptions || options == nullptr) {
    throw LoadError(
        35, path,
        owner + " declares " + std::to_string(n) + " options and " +
            (options == nullptr ? "gives none" : "at most " + std::to_string(kMaxOptions) + " are possible"));
  }
  const std::span all(options, n);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == nullptr || all[i]->struct_size < ESP_UPTO(esp_option, choices)) {
      throw LoadError(35, path, owner + ": option " + std::to_string(i) + " is NULL or shorter than in version 1.0");
    }
    OptionCheck(*all[i], owner, path).run();
    for (size_t j = 0; j < i; ++j) {
      if (std::string_view(all[i]->key) == all[j]->key) {
        throw LoadError(37, path, owner + " declares the option \"" + all[i]->key + "\" twice");
      }
    }
  }
}

}  // namespace esp
