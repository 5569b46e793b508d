#include "cli/command_line.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "test_options.hpp"

namespace esp::cli {
namespace {

using Words = std::vector<std::string>;

std::string error_of(const Words& words) {
  return testing::usage_error([&] { parse_command_line(words); });
}

std::string text_of(const CommandLine& line, const std::string& key) {
  const auto found = line.settings.find(key);
  return found == line.settings.end() ? "(not given)" : std::get<std::string>(found->second.value);
}

TEST(CommandLine, FlagsOfTablesBecomeSettings) {
  const CommandLine line =
      parse_command_line({"run", "--train.batch_size=32", "--optimizer.lr", "1e-3", "--strategy.stage=2"});
  EXPECT_EQ(line.command, "run");
  EXPECT_EQ(text_of(line, "train.batch_size"), "32");
  EXPECT_EQ(text_of(line, "optimizer.lr"), "1e-3");
  EXPECT_EQ(text_of(line, "strategy.stage"), "2");
  EXPECT_EQ(line.settings.at("strategy.stage").place.text, "--strategy.stage");
  EXPECT_EQ(line.settings.at("strategy.stage").place.base_folder, std::filesystem::current_path().string());
  EXPECT_EQ(line.arguments.size(), 5u);
}

TEST(CommandLine, KeysOfRunNeedNoTable) {
  const CommandLine line = parse_command_line({"run", "--plugin=libddp.so", "--nproc", "2"});
  EXPECT_EQ(text_of(line, "run.plugin"), "libddp.so");
  EXPECT_EQ(text_of(line, "run.nproc"), "2");
  EXPECT_EQ(line.settings.at("run.nproc").place.text, "--nproc");
}

TEST(CommandLine, ABareFlagMeansTrue) {
  const CommandLine line =
      parse_command_line({"run", "--train.deterministic", "--strategy.offload", "--data.shuffle=false"});
  EXPECT_EQ(text_of(line, "train.deterministic"), "true");
  EXPECT_EQ(text_of(line, "strategy.offload"), "true");
  EXPECT_EQ(text_of(line, "data.shuffle"), "false");
  EXPECT_EQ(text_of(parse_command_line({"run", "--data.shuffle", "false"}), "data.shuffle"), "false");
}

TEST(CommandLine, ValuesMayContainEqualSignsSpacesAndMinus) {
  const CommandLine line = parse_command_line({"run", "--data.path=a=b c", "--optimizer.lr=-1"});
  EXPECT_EQ(text_of(line, "data.path"), "a=b c");
  EXPECT_EQ(text_of(line, "optimizer.lr"), "-1");
}

TEST(CommandLine, FlagsWinOverTheFile) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("espalier_cli_" + std::to_string(getpid()) + ".toml")).string();
  std::ofstream(path) << "[train]\nepochs = 4\nmax_steps = 5\n";
  const CommandLine line = parse_command_line({"run", "--train.epochs=9", "-c", path});
  std::filesystem::remove(path);
  EXPECT_EQ(line.config_file, path);
  EXPECT_EQ(text_of(line, "train.epochs"), "9");
  EXPECT_EQ(std::get<int64_t>(line.settings.at("train.max_steps").value), 5);
}

TEST(CommandLine, LaunchersMayAddALocalRank) {
  EXPECT_EQ(parse_command_line({"run", "--local_rank=3", "--plugin=x"}).settings.size(), 1u);
  EXPECT_EQ(parse_command_line({"run", "--local-rank", "3", "--plugin=x"}).settings.size(), 1u);
}

TEST(CommandLine, OtherCommandsTakeTheirOwnFlags) {
  const CommandLine inspect = parse_command_line({"plugins", "inspect", "libddp.so", "--json"});
  EXPECT_EQ(inspect.command, "plugins inspect");
  EXPECT_EQ(inspect.names, Words{"libddp.so"});
  EXPECT_TRUE(inspect.json);
  EXPECT_EQ(parse_command_line({"plugins", "inspect", "--json", "libddp.so"}).names, Words{"libddp.so"});
  const CommandLine exported = parse_command_line({"export", "out/run1", "--to", "folder", "--dtype=bf16"});
  EXPECT_EQ(exported.names, Words{"out/run1"});
  EXPECT_EQ(exported.to, "folder");
  EXPECT_EQ(exported.dtype, "bf16");
  EXPECT_EQ(parse_command_line({"plugins", "list"}).command, "plugins list");
}

TEST(CommandLine, HelpIsAskedForInManyWays) {
  for (const Words& words :
       {Words{"help", "run"}, Words{"run", "--help"}, Words{"--help", "run"}, Words{"run", "--nonsense", "-h"}}) {
    EXPECT_EQ(parse_command_line(words).command, "help");
    EXPECT_EQ(parse_command_line(words).names, Words{"run"});
  }
  EXPECT_EQ(parse_command_line({"--version"}).command, "version");
  EXPECT_EQ(parse_command_line({}).command, "");
}

TEST(CommandLine, UnknownFlagsAreNamedWithTheNearest) {
  EXPECT_EQ(error_of({"run", "--nprocs=2"}), "--nprocs is no flag of host run; did you mean --nproc?");
  EXPECT_EQ(error_of({"run", "--batch_size=2"}),
            "--batch_size is no flag of host run; did you mean --train.batch_size?");
  EXPECT_EQ(error_of({"run", "--batch-size", "2"}),
            "--batch-size is no flag of host run; did you mean --train.batch_size?");
  EXPECT_EQ(error_of({"run", "--learning-speed=2"}), "--learning-speed is no flag of host run; see host help run");
  EXPECT_EQ(error_of({"run", "-x"}), "-x is no flag of host run; see host help run");
  EXPECT_EQ(error_of({"doctor", "--train.lr=1"}), "--train.lr is no flag of host doctor; see host help doctor");
  EXPECT_EQ(error_of({"doctor", "--jsno"}), "--jsno is no flag of host doctor; did you mean --json?");
}

TEST(CommandLine, ValuesMustBeThereAndOnce) {
  EXPECT_EQ(error_of({"run", "--nproc"}), "--nproc has no value");
  EXPECT_EQ(error_of({"run", "--nproc", "--plugin=x"}), "--nproc has no value");
  EXPECT_EQ(error_of({"run", "--nproc="}), "--nproc has no value");
  EXPECT_EQ(error_of({"run", "--nproc", "-c", "a.toml"}), "--nproc has no value");
  EXPECT_EQ(text_of(parse_command_line({"run", "--optimizer.lr", "-1"}), "optimizer.lr"), "-1");
  EXPECT_EQ(error_of({"run", "--strategy.stage="}), "--strategy.stage has no value");
  EXPECT_EQ(error_of({"run", "-c"}), "--config has no value");
  EXPECT_EQ(error_of({"run", "--nproc=2", "--run.nproc=3"}), "--run.nproc is given twice: 2 and 3");
  EXPECT_EQ(error_of({"run", "--strategy.stage=2", "--strategy.stage=3"}), "--strategy.stage is given twice: 2 and 3");
  EXPECT_EQ(error_of({"run", "-c", "a.toml", "-c", "b.toml"}), "-c is given twice: a.toml and b.toml");
  EXPECT_EQ(error_of({"export", "run1", "--to", "x", "--dtype=int8"}), "--dtype=int8 is not one of fp32, bf16, fp16");
}

TEST(CommandLine, StrayWordsAreRefusedWithAdvice) {
  EXPECT_EQ(error_of({"run", "tune.toml"}), "\"tune.toml\" is unexpected; did you mean -c tune.toml?");
  EXPECT_EQ(error_of({"run", "train.lr=1"}), "\"train.lr=1\" is unexpected; flags begin with --");
  EXPECT_EQ(error_of({"run", ""}), "\"\" is unexpected; values are written --table.key=value");
  EXPECT_EQ(error_of({"plugins", "inspect", "a.so", "b.so"}), "\"b.so\" is unexpected");
  EXPECT_EQ(error_of({"plugins", "inspect"}), "host plugins inspect LIBRARY [--json]: a name is missing");
}

TEST(CommandLine, UnknownCommandsAreNamedWithTheNearest) {
  EXPECT_EQ(error_of({"rnu"}), "there is no command \"rnu\"; did you mean host run?");
  EXPECT_EQ(error_of({"plugins", "lst"}), "there is no command \"plugins lst\"; did you mean host plugins list?");
  EXPECT_EQ(error_of({"frobnicate"}), "there is no command \"frobnicate\"; see host help");
  EXPECT_EQ(error_of({"--plugin=x"}), "a command comes first: host run --plugin=x ...; see host help");
  EXPECT_EQ(error_of({"plugins"}),
            "host plugins wants list, inspect, new, schema, example or reference; see host help plugins");
}

}  // namespace
}  // namespace esp::cli
