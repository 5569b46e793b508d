// `host plugins schema` and `plugins example`: what editors and beginners get is right, and the host takes it.
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "schema_check.hpp"
#include "support/host_process.hpp"
#include "support/scratch.hpp"

namespace esp::test {
namespace {

std::string printed(const std::vector<std::string>& arguments) {
  const Outcome outcome = run_host(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
  return outcome.out;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

Json schema_of(const std::string& library) { return Json::parse(printed({"plugins", "schema", library})); }

// Keys that the example shows behind a # as if a user had taken the # away.
std::string with_all_keys(const std::string& example) {
  return std::regex_replace(example, std::regex("(^|\n)#([a-z0-9_]+ = )"), "$1$2");
}

class EachLibrary : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(BuiltIn, EachLibrary,
                         testing::Values("libddp.so", "libddp_fp16.so", "libzero.so", "libgemini.so", "libvit.so"));

TEST_P(EachLibrary, HasASchemaThatIsAJsonSchema) {
  const Json schema = schema_of(GetParam());
  EXPECT_EQ(joined(schema_faults(schema)), "");
  EXPECT_EQ(schema["$schema"], "http://json-schema.org/draft-07/schema#");
  EXPECT_EQ(schema["type"], "object");
  for (const char* table : {"run", "model", "data", "train", "optimizer", "strategy", "bench"})
    EXPECT_TRUE(schema["properties"].contains(table)) << table;
}

TEST_P(EachLibrary, HasAnExampleThatTheHostPlansWithAndWithoutItsComments) {
  const Scratch scratch;
  const std::string example = printed({"plugins", "example", GetParam()});
  const std::string all = with_all_keys(example);
  for (const std::string& text : {example, all}) {
    const Outcome outcome = run_host({"plan", "-c", scratch.write("run.toml", text)});
    EXPECT_EQ(outcome.exit_code, 0) << text << outcome.describe();
  }
}

TEST(Schema, AcceptsARunAndRefusesWhatTheHostRefuses) {
  const Json schema = schema_of("libzero.so");
  const Json run = {{"run", {{"plugin", "libzero.so"}, {"nproc", 2}, {"device_budget", "2GiB"}}},
                    {"train", {{"precision", "bf16"}}},
                    {"optimizer", {{"betas", {0.9, 0.99}}}},
                    {"strategy", {{"stage", 3}}}};
  EXPECT_EQ(joined(refusals(schema, run)), "");
  const auto refused = [&](const char* pointer, const Json& value) {
    Json changed = run;
    changed[Json::json_pointer(pointer)] = value;
    return !refusals(schema, changed).empty();
  };
  EXPECT_TRUE(refused("/strategy/stage", 4));
  EXPECT_TRUE(refused("/strategy/stage", "3"));
  EXPECT_TRUE(refused("/strategy/stagee", 3));
  EXPECT_TRUE(refused("/train/precision", "fp8"));
  EXPECT_TRUE(refused("/run/device_budget", "much"));
  EXPECT_TRUE(refused("/run/device_budget", -1));
  EXPECT_TRUE(refused("/optimizer/betas", 0.9));
}

TEST(SchemaCheck, FindsWhatIsNoSchema) {
  EXPECT_EQ(joined(schema_faults(Json::parse(R"({"type": "text"})"))), ": no type\n");
  EXPECT_EQ(joined(schema_faults(Json::parse(R"({"min": 1})"))), ": unknown keyword min\n");
  EXPECT_EQ(joined(schema_faults(Json::parse(R"({"pattern": "["})"))), ": no pattern\n");
  EXPECT_NE(joined(schema_faults(Json::parse(R"({"required": ["a"], "properties": {}})"))), "");
  EXPECT_NE(joined(schema_faults(Json::parse(R"({"type": "integer", "maximum": 3, "default": 4})"))), "");
}

}  // namespace
}  // namespace esp::test
