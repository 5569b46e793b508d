#include <gtest/gtest.h>

#include <espalier/options.hpp>
#include <string>
#include <vector>

namespace {

struct Everything {
  bool fast = true;
  int64_t period = 8;
  uint16_t small = 3;
  double momentum = 0.9;
  std::string mode = "exact";
  std::string folder = "/tmp/x";
  std::string name = "n";
  esp::Bytes bucket{25u << 20};
  esp::Seconds patience{2.5};
  std::vector<int64_t> sizes = {1, 2, 3};
  std::vector<double> rates = {0.5};
  std::vector<std::string> layers = {"a", "b"};

  static auto schema() {
    using E = Everything;
    return esp::options(
        esp::option("fast", &E::fast), esp::option("period", &E::period).range(1, 4096).doc("steps").sweepable(),
        esp::option("small", &E::small), esp::option("momentum", &E::momentum).range(0, 1).affects_state(),
        esp::option("mode", &E::mode).choices({"exact", "quick"}), esp::option("folder", &E::folder).path(),
        esp::option("name", &E::name).deprecated("mode"), esp::option("bucket", &E::bucket).at_least(1u << 20),
        esp::option("patience", &E::patience).at_most(60).advanced(), esp::option("sizes", &E::sizes),
        esp::option("rates", &E::rates), esp::option("layers", &E::layers).since("1.2.0"));
  }
};

const esp_option& named(const std::string& key) {
  for (const esp_option* option : esp::schema_of<Everything>().options()) {
    if (key == option->key) return *option;
  }
  throw std::runtime_error("no option " + key);
}

// The values that a host would give when the user gives none.
std::vector<esp_value> defaults() {
  std::vector<esp_value> values;
  for (const esp_option* option : esp::schema_of<Everything>().options()) values.push_back(option->def);
  return values;
}

Everything read(const std::vector<esp_value>& values) {
  esp_config config{};
  config.struct_size = sizeof config;
  config.n_values = static_cast<uint32_t>(values.size());
  config.values = values.data();
  return esp::schema_of<Everything>().read(config);
}

TEST(Options, TypesFollowFromTheMembers) {
  const std::vector<uint32_t> expected = {ESP_OPT_BOOL,     ESP_OPT_I64,      ESP_OPT_I64,      ESP_OPT_F64,
                                          ESP_OPT_ENUM,     ESP_OPT_PATH,     ESP_OPT_STR,      ESP_OPT_BYTES,
                                          ESP_OPT_DURATION, ESP_OPT_LIST_I64, ESP_OPT_LIST_F64, ESP_OPT_LIST_STR};
  std::vector<uint32_t> types;
  for (const esp_option* option : esp::schema_of<Everything>().options()) types.push_back(option->type);
  EXPECT_EQ(expected, types);
}

TEST(Options, DefaultsAreTheMemberInitialisers) {
  EXPECT_EQ(8, named("period").def.v.i);
  EXPECT_EQ(0.9, named("momentum").def.v.f);
  EXPECT_STREQ("exact", named("mode").def.v.s);
  EXPECT_EQ(25u << 20, named("bucket").def.v.u);
  EXPECT_EQ(3u, named("sizes").def.n);
  EXPECT_STREQ("b", static_cast<const char* const*>(named("layers").def.v.list)[1]);
}

TEST(Options, CarryBoundsChoicesFlagsAndTexts) {
  EXPECT_EQ(1, named("period").min.v.i);
  EXPECT_EQ(4096, named("period").max.v.i);
  EXPECT_EQ(ESP_OPT_SWEEPABLE, named("period").flags);
  EXPECT_STREQ("steps", named("period").doc);
  EXPECT_EQ(0u, named("bucket").max.type) << "unbounded";
  EXPECT_EQ(60.0, named("patience").max.v.f);
  ASSERT_EQ(2u, named("mode").n_choices);
  EXPECT_STREQ("quick", named("mode").choices[1]);
  EXPECT_STREQ("mode", named("name").replaced_by);
  EXPECT_STREQ("1.2.0", named("layers").since);
}

TEST(Options, NarrowIntegersAreBoundedByTheirType) {
  EXPECT_EQ(0, named("small").min.v.i);
  EXPECT_EQ(65535, named("small").max.v.i);
}

TEST(Options, ValuesComeBackIntoTheStruct) {
  std::vector<esp_value> values = defaults();
  const char* layers[] = {"head"};
  values[0].v.i = 0;
  values[2].v.i = 65535;
  values[4].v.s = "quick";
  values[7].v.u = 1u << 20;
  values[11].n = 1;
  values[11].v.list = layers;
  const Everything options = read(values);
  EXPECT_FALSE(options.fast);
  EXPECT_EQ(65535, options.small);
  EXPECT_EQ("quick", options.mode);
  EXPECT_EQ(1u << 20, options.bucket.value);
  EXPECT_EQ(std::vector<std::string>{"head"}, options.layers);
  EXPECT_EQ((std::vector<int64_t>{1, 2, 3}), options.sizes);
  EXPECT_EQ(2.5, options.patience.value);
}

TEST(Options, RefuseValuesOfAnotherSchema) {
  std::vector<esp_value> values = defaults();
  values[1].type = ESP_OPT_F64;
  EXPECT_THROW(read(values), esp::Failure);
  values.pop_back();
  EXPECT_THROW(read(values), esp::Failure);
}

struct Required {
  std::string path;
  static auto schema() { return esp::options(esp::option("path", &Required::path).required()); }
};

TEST(Options, RequiredOnesHaveNoDefault) {
  const esp::Schema<Required> schema;
  EXPECT_EQ(0u, schema.options()[0]->def.type);
  EXPECT_EQ(ESP_OPT_REQUIRED, schema.options()[0]->flags);
}

struct OutOfRange {
  int64_t n = 5;
  static auto schema() { return esp::options(esp::option("n", &OutOfRange::n).range(0, 4)); }
};
struct NoChoice {
  std::string mode = "other";
  static auto schema() { return esp::options(esp::option("mode", &NoChoice::mode).choices({"a", "b"})); }
};

TEST(Options, RefuseADefaultThatTheUserMightNotGive) {
  EXPECT_THROW(esp::Schema<OutOfRange>(), esp::Failure);
  EXPECT_THROW(esp::Schema<NoChoice>(), esp::Failure);
}

}  // namespace
