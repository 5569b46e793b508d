#include <gtest/gtest.h>

#include <cstring>
#include <espalier/dataset.hpp>
#include <espalier/model.hpp>
#include <espalier/strategy.hpp>
#include <string>

namespace {

// A strategy with two of the optional functions.
struct Small {
  struct Options {
    int64_t period = 8;
    static auto schema() { return esp::options(esp::option("period", &Options::period).range(1, 100)); }
  };
  Small(esp::Host& host, const Options& options) : period(options.period), world(host.run().world) {
    ++alive;
    if (period == 13) {
      --alive;
      esp::fail(ESP_E_UNSUPPORTED, "period 13 is not offered");
    }
  }
  ~Small() { --alive; }
  esp_plan plan(const esp_view& view) {
    esp_plan out{};
    out.n_passes = static_cast<uint32_t>(period);
    out.warmup_steps = view.n_params;
    return out;
  }
  void prepare(const esp_view&, const esp::Binder&) {}
  void state(const esp::ShardSink&) {}
  void state_loaded() {}
  void pre_forward(const esp_step& step, uint32_t unit) { esp::fail(ESP_E_STATE, "unit ", unit, " at ", step.pos); }
  uint32_t variant(uint64_t index) noexcept { return static_cast<uint32_t>(index % 3); }

  int64_t period;
  int world;
  static int alive;
};
int Small::alive = 0;

struct Derived : Small {
  using Small::Small;
};

struct NoData {
  explicit NoData(esp::Host&) {}
  const esp_dataset_desc& describe() { return description.desc(); }
  void prepare(const esp_dataset_run&) {}
  void fetch(uint32_t, uint64_t, esp::Slice<const uint64_t>, uint32_t, void* const*) {}
  esp::DatasetDescription description;
};

}  // namespace

ESP_PLUGIN("org.example.small", "2.1.0", esp::strategy<Small>("small", "two hooks", ESP_CAP_CPU),
           esp::strategy<Derived>("derived", "the same", ESP_CAP_CPU), esp::dataset<NoData>("nothing", "no data", 0));

namespace {

esp_hello hello() {
  esp_hello hello{};
  hello.struct_size = sizeof hello;
  hello.abi_major = ESP_ABI_MAJOR;
  hello.abi_minor = ESP_ABI_MINOR;
  hello.sdk_hash = ESP_SDK_HASH;
  hello.host_version = "test";
  return hello;
}

const esp_plugin* enter() {
  const esp_hello greeting = hello();
  const esp_plugin* plugin = nullptr;
  EXPECT_EQ(ESP_OK, esp_plugin_entry_v1(&greeting, &plugin, nullptr));
  return plugin;
}

std::string refusal(const esp_hello& greeting) {
  esp_error error{};
  error.struct_size = sizeof error;
  const esp_plugin* plugin = nullptr;
  const esp_status status = esp_plugin_entry_v1(&greeting, &plugin, &error);
  EXPECT_EQ(ESP_E_ABI, status);
  EXPECT_EQ(nullptr, plugin);
  return error.message;
}

TEST(Entry, ListsTheComponents) {
  const esp_plugin* plugin = enter();
  ASSERT_NE(nullptr, plugin);
  EXPECT_STREQ("org.example.small", plugin->id);
  EXPECT_STREQ("2.1.0", plugin->version);
  ASSERT_EQ(3u, plugin->n_components);
  EXPECT_STREQ("small", plugin->components[0]->id);
  EXPECT_STREQ("2.1.0", plugin->components[0]->version);
  EXPECT_EQ(ESP_DATASET, plugin->components[2]->kind);
  ASSERT_EQ(1u, plugin->components[0]->n_options);
  EXPECT_STREQ("period", plugin->components[0]->options[0]->key);
  EXPECT_EQ(plugin, enter()) << "the same answer each time";
}

TEST(Entry, RefusesAnotherMajor) {
  esp_hello greeting = hello();
  greeting.abi_major = 2;
  EXPECT_NE(std::string::npos, refusal(greeting).find("built for ABI 1, the host speaks 2"));
}

TEST(Entry, RefusesAHelloThatIsTooShort) {
  esp_hello greeting = hello();
  greeting.struct_size = 16;
  EXPECT_NE(std::string::npos, refusal(greeting).find("shorter"));
  EXPECT_EQ(ESP_E_ABI, esp_plugin_entry_v1(nullptr, nullptr, nullptr));
}

TEST(Entry, RefusesAnotherDraft) {
  esp_hello greeting = hello();
  greeting.sdk_hash ^= 1;
  EXPECT_NE(std::string::npos, refusal(greeting).find("rebuild"));
}

TEST(Negotiation, AcceptsMinorsThatBothSidesHonour) {
  esp_hello greeting = hello();
  greeting.abi_minor = 5;
  greeting.abi_minor_floor = 2;
  const auto accepts = [&](uint32_t built, uint32_t needed) {
    return esp::guarded("", nullptr, [&] {
             esp::detail::negotiate(&greeting, {1, built, needed, 0, false});
           }) == ESP_OK;
  };
  EXPECT_TRUE(accepts(2, 0));
  EXPECT_TRUE(accepts(7, 5)) << "built newer, needs no more than there is";
  EXPECT_FALSE(accepts(7, 6)) << "needs more than the host has";
  EXPECT_FALSE(accepts(1, 0)) << "older than the host honours";
}

TEST(Note, SaysWhatTheEntrySays) {
  EXPECT_EQ(1u, esp_note_in_file.desc.note_version);
  EXPECT_EQ(sizeof(esp_note), esp_note_in_file.desc_size);
  EXPECT_STREQ("ESP", esp_note_in_file.name);
  EXPECT_EQ(ESP_SDK_HASH, esp_note_in_file.desc.sdk_hash);
  EXPECT_STREQ("strategy:small strategy:derived dataset:nothing", esp_note_in_file.desc.components);
  EXPECT_STREQ("org.example.small", esp_note_in_file.desc.plugin_id);
}

// A host without services, and one value.
struct Bare {
  explicit Bare(int64_t period) {
    value.type = ESP_OPT_I64;
    value.v.i = period;
    run.struct_size = sizeof run;
    run.world = 4;
    config.struct_size = sizeof config;
    config.n_values = 1;
    config.values = &value;
    config.run = &run;
    host.struct_size = sizeof host;
    host.service = [](void*, const char*) -> const void* { return nullptr; };
  }
  esp_value value{};
  esp_run run{};
  esp_config config{};
  esp_host host{};
};

TEST(StrategyTable, HoldsTheHooksThatTheClassHas) {
  for (int i = 0; i < 2; ++i) {  // also when they come from a base
    const auto* table = static_cast<const esp_strategy_v1*>(enter()->components[i]->table(ESP_STRATEGY_ID));
    ASSERT_NE(nullptr, table);
    EXPECT_NE(nullptr, table->pre_forward);
    EXPECT_NE(nullptr, table->variant);
    EXPECT_EQ(nullptr, table->post_forward);
    EXPECT_EQ(nullptr, table->adapt);
    EXPECT_EQ(nullptr, table->begin_step);
    EXPECT_EQ(nullptr, table->end_pass);
  }
  EXPECT_EQ(nullptr, enter()->components[0]->table("esp.unknown/1"));
  EXPECT_EQ(nullptr, enter()->components[0]->table(ESP_MODEL_ID));
}

TEST(StrategyTable, GivesOptionsAndFactsToTheClassAndItsAnswersBack) {
  Bare bare(21);
  void* self = nullptr;
  const esp_component* component = enter()->components[0];
  ASSERT_EQ(ESP_OK, component->create(&bare.host, &bare.config, &self, nullptr));
  const auto* table = static_cast<const esp_strategy_v1*>(component->table(ESP_STRATEGY_ID));
  esp_view view{};
  view.n_params = 6;
  esp_plan plan{};
  plan.struct_size = sizeof plan;
  EXPECT_EQ(ESP_OK, table->plan(self, &view, &plan, nullptr));
  EXPECT_EQ(21u, plan.n_passes);
  EXPECT_EQ(6u, plan.warmup_steps);
  EXPECT_EQ(sizeof plan, plan.struct_size);
  EXPECT_EQ(2u, table->variant(self, 5));

  esp_step step{};
  step.pos = 4;
  esp_error error{};
  error.struct_size = sizeof error;
  EXPECT_EQ(ESP_E_STATE, table->pre_forward(self, &step, 3, &error));
  EXPECT_STREQ("unit 3 at 4", error.message);
  EXPECT_STREQ("pre_forward", error.where);
  table->destroy(self);
  EXPECT_EQ(0, Small::alive);
}

TEST(StrategyTable, AnswersNoMoreThanTheHostHasRoomFor) {
  Bare bare(21);
  void* self = nullptr;
  const esp_component* component = enter()->components[0];
  ASSERT_EQ(ESP_OK, component->create(&bare.host, &bare.config, &self, nullptr));
  const auto* table = static_cast<const esp_strategy_v1*>(component->table(ESP_STRATEGY_ID));
  esp_view view{};
  view.n_params = 6;
  esp_plan plan{};
  plan.struct_size = 8;
  plan.warmup_steps = 99;
  EXPECT_EQ(ESP_OK, table->plan(self, &view, &plan, nullptr));
  EXPECT_EQ(21u, plan.n_passes);
  EXPECT_EQ(99u, plan.warmup_steps);
  table->destroy(self);
}

TEST(Create, LeavesNothingBehindWhenItFails) {
  Bare bare(13);
  void* self = nullptr;
  esp_error error{};
  error.struct_size = sizeof error;
  EXPECT_EQ(ESP_E_UNSUPPORTED, enter()->components[0]->create(&bare.host, &bare.config, &self, &error));
  EXPECT_EQ(nullptr, self);
  EXPECT_STREQ("period 13 is not offered", error.message);
  EXPECT_EQ(0, Small::alive);
}

TEST(Create, NamesAServiceThatTheHostDoesNotOffer) {
  Bare bare(1);
  const esp::Host host(bare.host, bare.config);
  EXPECT_FALSE(host.memory.offered());
  EXPECT_THROW(host.memory.device(4, ESP_TAG_PARAM), esp::Failure);
  host.log.info("a host may have no log");
}

TEST(ModelDescription, OwnsWhatItDescribes) {
  esp::ModelDescription description;
  const uint32_t weight = description.add_param("head.weight", {3, 4}, ESP_PARAM_TRAINABLE);
  const uint32_t bias = description.add_param("head.bias", {3}, ESP_PARAM_TRAINABLE | ESP_PARAM_NO_DECAY, 1);
  description.add_unit("head", {weight, bias}, 24.0);
  description.add_input("pixels", ESP_U8, {8, 8, 3});
  description.add_recompute("none");
  description.add_note("the head starts from scratch");
  description.add_precision(ESP_PRECISION_FP32);
  description.set_name("toy");
  description.set_classes(3);
  const esp_model_desc& desc = description.desc();
  EXPECT_EQ(12u, desc.params[0]->numel);
  EXPECT_EQ(1u, desc.params[1]->group);
  EXPECT_EQ(bias, desc.units[0]->uses[1]);
  EXPECT_EQ(24.0, desc.unit_flops[0]);
  EXPECT_STREQ("pixels", desc.inputs[0]->name);
  EXPECT_EQ(3u, desc.inputs[0]->ndim);
  EXPECT_STREQ("none", desc.recompute[0]);
  EXPECT_EQ(1u, desc.n_notes);
  EXPECT_EQ(ESP_PRECISION_FP32, desc.precisions[0]);
}

}  // namespace
