#include <gtest/gtest.h>

#include "config/resolve.hpp"
#include "config/toml_document.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

using testing::from_file;
using testing::from_flag;
using testing::usage_error;

std::string check_text(const std::string& toml, std::span<const ExtraKeys> extra = {}) {
  return usage_error([&] { check_settings(parse_toml(toml, "f.toml", "/folder"), extra); });
}

std::string check_flag(const std::string& key, const std::string& value) {
  return usage_error([&] { check_settings({{key, from_flag("--" + key, value)}}, {}); });
}

TEST(CheckSettings, EveryHostKeyTakesItsDefault) {
  for (const KeyTable& table : host_keys()) {
    OptionSet defaults = read_options({}, table.name, table.keys);
    const ResolvedTable resolved{table.name, table.keys, defaults.values()};
    const std::string toml = to_toml(std::span(&resolved, 1));
    EXPECT_EQ(check_text(toml), "no error") << toml;
  }
}

TEST(CheckSettings, UnknownKeysAreNamedWithTheNearest) {
  EXPECT_EQ(check_text("[train]\nbatch_sise = 3\n"),
            "f.toml:2:1: train.batch_sise is not a key of [train]; did you mean train.batch_size?");
  EXPECT_EQ(check_text("[run]\nbatch_size = 3\n"),
            "f.toml:2:1: run.batch_size is not a key of [run]; did you mean train.batch_size?");
  EXPECT_EQ(check_text("[trian]\nlr = 3\n"),
            "f.toml:2:1: trian.lr is unknown: there is no table [trian]; did you mean optimizer.lr?");
  EXPECT_EQ(check_text("epochs = 3\n"), "f.toml:1:1: epochs stands outside of a table; did you mean train.epochs?");
  EXPECT_EQ(check_text("\"train.epochs\" = 3\n"),
            "f.toml:1:1: \"train.epochs\" stands outside of a table; did you mean train.epochs?");
  EXPECT_EQ(check_text("[train]\nzzzzzzzz = 3\n"), "f.toml:2:1: train.zzzzzzzz is not a key of [train]");
  EXPECT_EQ(check_text("[train.epochs]\nmax = 3\n"),
            "f.toml:2:1: train.epochs.max is not a key of [train]; did you mean train.epochs?");
  EXPECT_EQ(check_flag("train.epoch", "3"), "--train.epoch is not a key of [train]; did you mean train.epochs?");
}

TEST(CheckSettings, WrongTypesAreNamedWithWhatIsExpected) {
  EXPECT_EQ(check_text("[train]\nepochs = \"three\"\n"),
            "f.toml:2:1: train.epochs = \"three\" is text; an integer from 1 to 1000000 is expected");
  EXPECT_EQ(check_text("[train]\nmax_steps = 1.5\n"),
            "f.toml:2:1: train.max_steps = 1.5 is a number with a fraction; an integer from 1 is expected");
  EXPECT_EQ(check_text("[train]\nsave = 1\n"), "f.toml:2:1: train.save = 1 is an integer; true or false is expected");
  EXPECT_EQ(check_text("[optimizer]\nlr = true\n"),
            "f.toml:2:1: optimizer.lr = true is a boolean; a number from 0 is expected");
  EXPECT_EQ(check_text("[optimizer]\nlr = [1]\n"),
            "f.toml:2:1: optimizer.lr = [1] is a list; a number from 0 is expected");
  EXPECT_EQ(check_text("[optimizer]\nbetas = 1\n"),
            "f.toml:2:1: optimizer.betas = 1 is an integer; a list of numbers from 0 to 1 is expected");
  EXPECT_EQ(check_text("[run]\nplugin = 3\n"), "f.toml:2:1: run.plugin = 3 is an integer; text is expected");
  EXPECT_EQ(check_text("[model]\nfreeze = [1]\n"),
            "f.toml:2:1: model.freeze = [1] is an integer; a list of texts is expected");
}

TEST(CheckSettings, ValuesOutOfRangeAreNamedWithTheRange) {
  EXPECT_EQ(check_text("[run]\nnproc = 0\n"),
            "f.toml:2:1: run.nproc = 0 is too small; an integer from 1 to 1024 is expected");
  EXPECT_EQ(check_text("[run]\nnproc = 1025\n"),
            "f.toml:2:1: run.nproc = 1025 is too large; an integer from 1 to 1024 is expected");
  EXPECT_EQ(check_text("[optimizer]\nlr = -1\n"),
            "f.toml:2:1: optimizer.lr = -1 is too small; a number from 0 is expected");
  EXPECT_EQ(check_text("[optimizer]\nlr = nan\n"),
            "f.toml:2:1: optimizer.lr = nan is not finite; a number from 0 is expected");
  EXPECT_EQ(check_text("[optimizer]\neps = inf\n"),
            "f.toml:2:1: optimizer.eps = inf is not finite; a number from 0 is expected");
  EXPECT_EQ(check_text("[optimizer]\nbetas = [0.9, 1.5]\n"),
            "f.toml:2:1: optimizer.betas = [0.9, 1.5] is too large; a list of numbers from 0 to 1 is expected");
  EXPECT_EQ(check_text("[run]\ntimeout = 0\n"),
            "f.toml:2:1: run.timeout = 0 is too small; a duration like 2.5 or \"90s\" from 1 to 604800 is expected");
  EXPECT_EQ(check_text("[run]\ndevice_budget = -5\n"),
            "f.toml:2:1: run.device_budget = -5 is negative; a size like 4096 or \"25MiB\" is expected");
  EXPECT_EQ(check_text("[run]\ndevice_budget = \"12 potatoes\"\n"),
            "f.toml:2:1: run.device_budget = \"12 potatoes\" is no size; a size like 4096 or \"25MiB\" is expected");
}

TEST(CheckSettings, ChoicesAreListed) {
  EXPECT_EQ(check_text("[train]\nprecision = \"fp17\"\n"),
            "f.toml:2:1: train.precision = \"fp17\" is not one of fp32, tf32, bf16, fp16; did you mean fp16?");
  EXPECT_EQ(check_flag("optimizer.schedule", "step"),
            "--optimizer.schedule=step is not one of constant, linear, cosine");
}

TEST(CheckSettings, FlagsAreTextThatIsReadByType) {
  EXPECT_EQ(check_flag("train.epochs", "three"), "--train.epochs=three is not an integer from 1 to 1000000");
  EXPECT_EQ(check_flag("train.epochs", "1.5"), "--train.epochs=1.5 is not an integer from 1 to 1000000");
  EXPECT_EQ(check_flag("train.max_steps", "99999999999999999999"),
            "--train.max_steps=99999999999999999999 does not fit 64 bits; an integer from 1 is expected");
  EXPECT_EQ(check_flag("train.epochs", "-1"),
            "--train.epochs=-1 is too small; an integer from 1 to 1000000 is expected");
  EXPECT_EQ(check_flag("data.shuffle", "yes"), "--data.shuffle=yes is not true or false");
  EXPECT_EQ(check_flag("optimizer.lr", "1e999"), "--optimizer.lr=1e999 is not finite; a number from 0 is expected");
  EXPECT_EQ(check_flag("run.timeout", "soon"),
            "--run.timeout=soon is not a duration like 2.5 or \"90s\" from 1 to 604800");
  EXPECT_EQ(check_flag("run.plugin", "\xff"), "--run.plugin=\xff is not valid UTF-8; text is expected");
  for (const auto& [key, value] : std::map<std::string, std::string>{{"data.shuffle", "0"},
                                                                     {"optimizer.lr", "3"},
                                                                     {"run.timeout", "5min"},
                                                                     {"run.device_budget", "25MiB"},
                                                                     {"optimizer.betas", "0.9,0.95"},
                                                                     {"model.freeze", "[a, b.*]"}}) {
    EXPECT_EQ(check_flag(key, value), "no error");
  }
}

TEST(CheckSettings, AllMistakesAreToldInTheOrderOfTheFile) {
  EXPECT_EQ(check_text("[train]\nepochs = 0\n[run]\nseed = -1\nsede = 1\n[optimizer]\nlr = \"x\"\n"),
            "f.toml:2:1: train.epochs = 0 is too small; an integer from 1 to 1000000 is expected\n"
            "f.toml:4:1: run.seed = -1 is too small; an integer from 0 is expected\n"
            "f.toml:5:1: run.sede is not a key of [run]; did you mean run.seed?\n"
            "f.toml:7:1: optimizer.lr = \"x\" is text; a number from 0 is expected");
}

TEST(CheckSettings, PluginsAddKeysToTheirTables) {
  testing::EveryType options;
  const ExtraKeys extra{"strategy", "libzero.so:zero", options.list};
  const std::span<const ExtraKeys> all(&extra, 1);
  EXPECT_EQ(check_text("[strategy]\nstage = 3\nbucket = \"1GiB\"\n", all), "no error");
  EXPECT_EQ(check_text("[strategy]\nstagee = 3\n", all),
            "f.toml:2:1: strategy.stagee is not an option of libzero.so:zero; did you mean strategy.stage?");
  EXPECT_EQ(check_text("[strategy]\nstage = 9\n", all),
            "f.toml:2:1: strategy.stage = 9 is too large; an integer from 1 to 8 is expected");
  EXPECT_EQ(
      check_text("[strategy]\nbucket = \"5GiB\"\n", all),
      "f.toml:2:1: strategy.bucket = \"5GiB\" is too large; a size like 4096 or \"25MiB\" up to 4GiB is expected");
  EXPECT_EQ(check_text("[strategy]\nids = [1, -6]\n", all),
            "f.toml:2:1: strategy.ids = [1, -6] is too small; a list of integers from -5 is expected");
  const ExtraKeys of_model{"model", "libvit.so:vit", options.list};
  EXPECT_EQ(
      check_text("[model]\nlabell = \"x\"\n", std::span(&of_model, 1)),
      "f.toml:2:1: model.labell is not a key of [model] or an option of libvit.so:vit; did you mean model.label?");
}

TEST(CheckSettings, RequiredOptionsMustBeGiven) {
  const esp_option period = testing::option(ESP_OPT_I64, "period", ESP_OPT_REQUIRED);
  const esp_option* list[] = {&period};
  const ExtraKeys extra{"strategy", "libsgd.so:local", list};
  EXPECT_EQ(check_text("", std::span(&extra, 1)), "strategy.period must be given: libsgd.so:local wants an integer");
  EXPECT_EQ(check_text("[strategy]\nperiod = 3\n", std::span(&extra, 1)), "no error");
}

TEST(CheckSettings, APluginMayNotTakeAKeyOfTheHost) {
  const esp_option freeze = testing::option(ESP_OPT_BOOL, "freeze");
  const esp_option* list[] = {&freeze};
  const ExtraKeys extra{"model", "libm.so:m", list};
  try {
    check_settings({}, std::span(&extra, 1));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPlugin);
    EXPECT_STREQ(
        error.what(),
        "libm.so:m declares the option model.freeze, which the host itself has already; the plugin must rename it");
  }
}

TEST(CheckSettings, BeforePluginsAreLoadedTheirKeysPass) {
  const Settings settings =
      parse_toml("[strategy]\nstage = 3\n[model]\nsize = \"tiny\"\n[data]\nlimit = 0\n[train]\nx = 1\n", "f.toml", "/");
  EXPECT_EQ(usage_error([&] { check_host_settings(settings); }),
            "f.toml:6:1: data.limit = 0 is too small; an integer from 1 is expected\n"
            "f.toml:8:1: train.x is not a key of [train]");
}

TEST(CheckSettings, BenchKeysAreValidInAnyFile) {
  EXPECT_EQ(check_text("[bench]\nprotocol = \"seed\"\nwarmup = 3\nsteps = 20\nrepeats = 2\n"), "no error");
}

}  // namespace
}  // namespace esp
