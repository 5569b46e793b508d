#include <gtest/gtest.h>

#include "config/resolve.hpp"
#include "config/toml_document.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

using testing::from_flag;
using testing::usage_error;

RunConfig read(const std::string& toml) { return read_run_config(parse_toml(toml, "f.toml", "/folder")); }

TEST(ReadRunConfig, DefaultsOfTheKeysAreThoseOfTheStruct) {
  const RunConfig read_one = read(""), made;
  EXPECT_EQ(read_one.run.plugin, made.run.plugin);
  EXPECT_EQ(read_one.run.strategy, made.run.strategy);
  EXPECT_EQ(read_one.run.nproc, made.run.nproc);
  EXPECT_EQ(read_one.run.device, made.run.device);
  EXPECT_EQ(read_one.run.threads, made.run.threads);
  EXPECT_EQ(read_one.run.device_budget, made.run.device_budget);
  EXPECT_EQ(read_one.run.pinned_budget, made.run.pinned_budget);
  EXPECT_EQ(read_one.run.timeout_s, made.run.timeout_s);
  EXPECT_EQ(read_one.run.seed, made.run.seed);
  EXPECT_EQ(read_one.run.out, made.run.out);
  EXPECT_EQ(read_one.run.verbosity, made.run.verbosity);
  EXPECT_EQ(read_one.model.module, made.model.module);
  EXPECT_EQ(read_one.model.recompute, made.model.recompute);
  EXPECT_EQ(read_one.model.freeze, made.model.freeze);
  EXPECT_EQ(read_one.data.module, made.data.module);
  EXPECT_EQ(read_one.data.split, made.data.split);
  EXPECT_EQ(read_one.data.shuffle, made.data.shuffle);
  EXPECT_EQ(read_one.data.limit, made.data.limit);
  EXPECT_EQ(read_one.data.drop_last, made.data.drop_last);
  EXPECT_EQ(read_one.data.workers, made.data.workers);
  EXPECT_EQ(read_one.train.epochs, made.train.epochs);
  EXPECT_EQ(read_one.train.max_steps, made.train.max_steps);
  EXPECT_EQ(read_one.train.batch_size, made.train.batch_size);
  EXPECT_EQ(read_one.train.global_batch_size, made.train.global_batch_size);
  EXPECT_EQ(read_one.train.accumulation_steps, made.train.accumulation_steps);
  EXPECT_EQ(read_one.train.precision, made.train.precision);
  EXPECT_EQ(read_one.train.clip_norm, made.train.clip_norm);
  EXPECT_EQ(read_one.train.eval_every, made.train.eval_every);
  EXPECT_EQ(read_one.train.on_nonfinite, made.train.on_nonfinite);
  EXPECT_EQ(read_one.train.save, made.train.save);
  EXPECT_EQ(read_one.train.deterministic, made.train.deterministic);
  EXPECT_EQ(read_one.optimizer.name, made.optimizer.name);
  EXPECT_EQ(read_one.optimizer.lr, made.optimizer.lr);
  EXPECT_EQ(read_one.optimizer.weight_decay, made.optimizer.weight_decay);
  EXPECT_EQ(read_one.optimizer.betas, made.optimizer.betas);
  EXPECT_EQ(read_one.optimizer.eps, made.optimizer.eps);
  EXPECT_EQ(read_one.optimizer.momentum, made.optimizer.momentum);
  EXPECT_EQ(read_one.optimizer.schedule, made.optimizer.schedule);
  EXPECT_EQ(read_one.optimizer.warmup_steps, made.optimizer.warmup_steps);
  EXPECT_EQ(read_one.optimizer.warmup_ratio, made.optimizer.warmup_ratio);
}

TEST(ReadRunConfig, EveryKeyReachesItsMember) {
  const RunConfig config = read(
      "[run]\nplugin = \"libddp.so\"\nstrategy = \"ddp\"\nnproc = 2\ndevice = \"cpu\"\nthreads = 5\ndevice_budget = "
      "\"1GiB\"\n"
      "pinned_budget = 4096\ntimeout = \"5min\"\nseed = 7\nout = \"out\"\nverbosity = \"debug\"\n"
      "[model]\nmodule = \"libm.so\"\nrecompute = \"block\"\nfreeze = [\"a\", \"b.*\"]\n"
      "[data]\nmodule = \"libd.so\"\nsplit = \"test\"\nshuffle = false\nlimit = 10\ndrop_last = true\nworkers = 3\n"
      "[train]\nepochs = 4\nmax_steps = 11\nbatch_size = 2\nglobal_batch_size = 8\naccumulation_steps = 2\nprecision = "
      "\"bf16\"\n"
      "clip_norm = 1\neval_every = 0.5\non_nonfinite = \"ignore\"\nsave = false\ndeterministic = true\n"
      "[optimizer]\nname = \"sgd\"\nlr = 0.1\nweight_decay = 0\nbetas = [0.8, 0.99]\neps = 1e-6\nmomentum = 0.5\n"
      "schedule = \"linear\"\nwarmup_steps = 12\n");
  EXPECT_EQ(config.run.plugin, "libddp.so");
  EXPECT_EQ(config.run.strategy, "ddp");
  EXPECT_EQ(config.run.nproc, 2);
  EXPECT_EQ(config.run.device, Device::kCpu);
  EXPECT_EQ(config.run.threads, 5);
  EXPECT_EQ(config.run.device_budget, 1u << 30);
  EXPECT_EQ(config.run.pinned_budget, 4096u);
  EXPECT_EQ(config.run.timeout_s, 300);
  EXPECT_EQ(config.run.seed, 7u);
  EXPECT_EQ(config.run.out, "/folder/out");
  EXPECT_EQ(config.run.verbosity, "debug");
  EXPECT_EQ(config.model.module, "libm.so");
  EXPECT_EQ(config.model.recompute, "block");
  EXPECT_EQ(config.model.freeze, (std::vector<std::string>{"a", "b.*"}));
  EXPECT_EQ(config.data.module, "libd.so");
  EXPECT_EQ(config.data.split, "test");
  EXPECT_FALSE(config.data.shuffle);
  EXPECT_EQ(config.data.limit, 10u);
  EXPECT_TRUE(config.data.drop_last);
  EXPECT_EQ(config.data.workers, 3);
  EXPECT_EQ(config.train.epochs, 4);
  EXPECT_EQ(config.train.max_steps, 11);
  EXPECT_EQ(config.train.batch_size, 2);
  EXPECT_EQ(config.train.global_batch_size, 8);
  EXPECT_EQ(config.train.accumulation_steps, 2);
  EXPECT_EQ(config.train.precision, Precision::kBf16);
  EXPECT_EQ(config.train.clip_norm, 1);
  EXPECT_EQ(config.train.eval_every, 0.5);
  EXPECT_EQ(config.train.on_nonfinite, OnNonfinite::kIgnore);
  EXPECT_FALSE(config.train.save);
  EXPECT_TRUE(config.train.deterministic);
  EXPECT_EQ(config.optimizer.name, OptimizerKind::kSgd);
  EXPECT_EQ(config.optimizer.lr, 0.1);
  EXPECT_EQ(config.optimizer.weight_decay, 0);
  EXPECT_EQ(config.optimizer.betas, (std::array<double, 2>{0.8, 0.99}));
  EXPECT_EQ(config.optimizer.eps, 1e-6);
  EXPECT_EQ(config.optimizer.momentum, 0.5);
  EXPECT_EQ(config.optimizer.schedule, Schedule::kLinear);
  EXPECT_EQ(config.optimizer.warmup_steps, 12);
  EXPECT_EQ(config.optimizer.warmup_ratio, std::nullopt);
}

TEST(ReadRunConfig, EveryPrecisionHasItsAbiNumber) {
  EXPECT_EQ(static_cast<uint32_t>(read("[train]\nprecision = \"fp32\"\n").train.precision), ESP_PRECISION_FP32);
  EXPECT_EQ(static_cast<uint32_t>(read("[train]\nprecision = \"tf32\"\n").train.precision), ESP_PRECISION_TF32);
  EXPECT_EQ(static_cast<uint32_t>(read("[train]\nprecision = \"fp16\"\n").train.precision), ESP_PRECISION_FP16);
}

TEST(ReadRunConfig, KeysOfPluginsAreLeftToThem) {
  EXPECT_EQ(read("[model]\nsize = \"tiny\"\n").model.module, "libvit.so");
}

TEST(ReadRunConfig, FlagsWinOverTheFile) {
  Settings settings = parse_toml("[train]\nepochs = 4\n[run]\nseed = 1\n", "f.toml", "/folder");
  merge(settings, {{"train.epochs", from_flag("--train.epochs", "9")}});
  const RunConfig config = read_run_config(settings);
  EXPECT_EQ(config.train.epochs, 9);
  EXPECT_EQ(config.run.seed, 1u);
}

TEST(ReadRunConfig, RulesBetweenKeysHold) {
  EXPECT_EQ(usage_error([] { read("[optimizer]\nwarmup_steps = 3\nwarmup_ratio = 0.1\n"); }),
            "f.toml:3:1: optimizer.warmup_ratio and f.toml:2:1: optimizer.warmup_steps exclude each other; give one");
  const std::string betas = "f.toml:2:1: optimizer.betas: two numbers from 0 to below 1 are expected";
  EXPECT_EQ(usage_error([] { read("[optimizer]\nbetas = [0.9]\n"); }), betas);
  EXPECT_EQ(usage_error([] { read("[optimizer]\nbetas = [0.9, 1]\n"); }), betas);
  EXPECT_EQ(usage_error([] { read("[optimizer]\nbetas = [0.9, 0.9, 0.9]\n"); }), betas);
  EXPECT_EQ(usage_error([] { read("[optimizer]\nmomentum = 1\n"); }),
            "f.toml:2:1: optimizer.momentum: a number from 0 to below 1 is expected");
}

TEST(ReadRunConfig, AllMistakesOfTheHostsKeysAreToldAtOnce) {
  EXPECT_EQ(usage_error([] { read("[train]\nepochs = 0\n[run]\nnproc = 0\n"); }),
            "f.toml:2:1: train.epochs = 0 is too small; an integer from 1 to 1000000 is expected\n"
            "f.toml:4:1: run.nproc = 0 is too small; an integer from 1 to 1024 is expected");
}

TEST(ComponentNames, AreReadBeforeAnythingElseIsValid) {
  const Settings settings =
      parse_toml("[run]\nplugin = \"./my/libzero.so:zero\"\nnproc = 0\n[strategy]\nx = 1\n", "f.toml", "/folder");
  const ComponentNames names = read_component_names(settings);
  EXPECT_EQ(names.plugin, "/folder/my/libzero.so");
  EXPECT_EQ(names.strategy, "zero");
  EXPECT_EQ(names.model_module, "libvit.so");
}

TEST(ComponentNames, AColonInAFolderIsNoComponent) {
  EXPECT_EQ(read_component_names({{"run.plugin", from_flag("--plugin", "/a:b/libzero.so")}}).plugin, "/a:b/libzero.so");
}

TEST(ComponentNames, MustNotContradict) {
  const Settings settings{{"run.plugin", from_flag("--plugin", "libzero.so:zero")},
                          {"run.strategy", from_flag("--strategy", "ddp")}};
  EXPECT_EQ(usage_error([&] { read_component_names(settings); }),
            "--strategy = \"ddp\" contradicts --plugin = \"libzero.so:zero\"");
}

}  // namespace
}  // namespace esp
