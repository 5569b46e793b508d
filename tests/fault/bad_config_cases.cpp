// Configuration files and flags.
#include "bad_input.hpp"

namespace esp::test {
namespace {

std::string repeated(std::string_view text, size_t times) {
  std::string all;
  for (size_t k = 0; k < times; ++k) all.append(text);
  return all;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all.append(part);
  return all;
}

BadInput config(const char* name, std::string toml, std::vector<std::string> says) {
  return {name, 2, std::move(says), [toml](const Scratch& scratch) { return run_with_config(scratch, toml); }};
}

BadInput flags(const char* name, std::vector<std::string> more, std::vector<std::string> says) {
  return {name, 2, std::move(says), [more](const Scratch& scratch) { return good_run(scratch, more); }};
}

BadInput typed(const char* name, std::vector<std::string> arguments, std::vector<std::string> says) {
  return {name, 2, std::move(says), [arguments](const Scratch&) { return arguments; }};
}

std::vector<BadInput> file_cases() {
  return {
      config("ConfigWithBrokenSyntax", "[train]\nbatch_size = = 3\n", {"bad.toml:2:"}),
      config("ConfigWithUnclosedInlineTable", "a=[1,}", {"bad.toml:1:"}),
      config("ConfigWithTripleBrackets", "[[[1]]]", {"bad.toml:1:"}),
      config("ConfigWithDeepNesting", joined({"a = ", repeated("[", 30000), repeated("]", 30000)}), {"bad.toml"}),
      config("ConfigWithDeepDottedKey", joined({"a", repeated(".a", 20000), " = 1"}), {"bad.toml"}),
      config("ConfigOver64KiB", joined({"# ", repeated("x", 70000), "\n"}), {"bad.toml", "64 KiB"}),
      config("ConfigInInvalidUtf8", "[run]\nout = \"\xff\xfe\"\n", {"bad.toml:2"}),
      config("ConfigWithDuplicateKey", "[train]\nepochs = 1\nepochs = 2\n", {"bad.toml:3:", "epochs"}),
      config("UnknownKey", "[train]\nbatchsize = 4\n", {"bad.toml:2:", "batchsize", "batch_size"}),
      config("UnknownTable", "[trian]\nepochs = 4\n", {"bad.toml:", "trian", "train"}),
      config("WrongType", "[train]\nepochs = \"many\"\n", {"bad.toml:2:", "train.epochs", "many"}),
      config("FractionForInteger", "[train]\nepochs = 1.5\n", {"bad.toml:2:", "train.epochs"}),
      config("DateForInteger", "[train]\nepochs = 1979-05-27\n", {"bad.toml:2:", "train.epochs"}),
      config("NotANumber", "[optimizer]\nlr = nan\n", {"bad.toml:2:", "optimizer.lr"}),
      config("NegativeLearningRate", "[optimizer]\nlr = -0.1\n", {"bad.toml:2:", "optimizer.lr", "-0.1"}),
      config("UnknownChoice", "[optimizer]\nschedule = \"cosin\"\n",
             {"bad.toml:2:", "optimizer.schedule", "cosin", "cosine"}),
      config("OptionThatThePluginLacks", "[strategy]\nstage = 2\n", {"bad.toml:2:", "strategy.stage"}),
      {"ConfigThatIsMissing",
       2,
       {"nowhere.toml"},
       [](const Scratch& scratch) { return good_run(scratch, {"--config=nowhere.toml"}); }},
      {"ConfigThatIsAFolder",
       2,
       {"conf"},
       [](const Scratch& scratch) {
         std::filesystem::create_directory(scratch.path() / "conf");
         return good_run(scratch, {"--config=" + (scratch / "conf")});
       }},
      {"ConfigWithTwoErrors",
       2,
       {"bad.toml:2:", "epoch", "bad.toml:4:", "lrr"},
       [](const Scratch& scratch) { return run_with_config(scratch, "[train]\nepoch = 1\n[optimizer]\nlrr = 1\n"); },
       {},
       false},
  };
}

}  // namespace

std::vector<BadInput> bad_config_cases() {
  std::vector<BadInput> cases = file_cases();
  const std::vector<BadInput> more = {
      typed("UnknownCommand", {"trian"}, {"trian"}),
      typed("NoPlugin", {"run"}, {"--plugin"}),
      flags("UnknownFlag", {"--train.batchsize=4"}, {"--train.batchsize", "batch_size"}),
      flags("UnknownFlagWithoutTable", {"--plugn=libddp.so"}, {"--plugn", "plugin"}),
      flags("FlagWithoutValue", {"--optimizer.lr"}, {"--optimizer.lr"}),
      flags("NumberThatOverflows", {"--train.epochs=99999999999999999999"}, {"--train.epochs", "99999999999999999999"}),
      flags("TextForNumber", {"--train.epochs=three"}, {"--train.epochs", "three"}),
      flags("EmptyValue", {"--train.epochs="}, {"--train.epochs"}),
      flags("ZeroEpochs", {"--train.epochs=0"}, {"--train.epochs", "0"}),
      flags("BatchContradiction",
            {"--train.global_batch_size=7", "--train.batch_size=4", "--train.accumulation_steps=2"},
            {"7", "4", "2", "global_batch_size"}),
      flags("WarmupTwice", {"--optimizer.warmup_steps=3", "--optimizer.warmup_ratio=0.5"},
            {"warmup_steps", "warmup_ratio"}),
      flags("PrecisionThatTheDeviceLacks", {"--train.precision=tf32"}, {"tf32"}),
      flags("RecomputeThatTheModelLacks", {"--model.recompute=gelu"}, {"gelu", "none", "block"}),
      flags("FreezePatternWithoutMatch", {"--model.freeze=vit.nothing.*"}, {"vit.nothing.*"}),
      flags("EverythingFrozen", {"--model.freeze=*"}, {"freeze"}),
  };
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

}  // namespace esp::test
