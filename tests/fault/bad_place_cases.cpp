// Output folders, ranks, devices and what launchers say.
#include "bad_input.hpp"

namespace esp::test {
namespace {

BadInput flags(const char* name, int code, std::vector<std::string> more, std::vector<std::string> says) {
  return {name, code, std::move(says), [more](const Scratch& scratch) { return good_run(scratch, more); }};
}

BadInput launched(const char* name, std::map<std::string, std::string> environment, std::vector<std::string> says) {
  return {name, 2, std::move(says), [](const Scratch& scratch) { return good_run(scratch, {}); },
          std::move(environment)};
}

std::vector<BadInput> folder_cases() {
  return {
      {"OutputThatIsAFile",
       2,
       {"out"},
       [](const Scratch& scratch) {
         scratch.write("out", "in the way");
         return good_run(scratch, {});
       }},
      {"OutputUnderAFile",
       2,
       {"file/out"},
       [](const Scratch& scratch) {
         scratch.write("file", "in the way");
         return good_run(scratch, {"--out=" + (scratch / "file/out")});
       }},
      flags("OutputThatCannotBeMade", 6, {"--out=/proc/espalier/out"}, {"/proc/espalier/out"}),
      flags("OutputThatCannotBeMadeWithTwoRanks", 6, {"--out=/proc/espalier/out", "--nproc=2"}, {"/proc/espalier/out"}),
      {"ExportOfAFolderThatIsMissing",
       5,
       {"no/such/run"},
       [](const Scratch& scratch) {
         return std::vector<std::string>{"export", "no/such/run", "--to=" + (scratch / "hf")};
       }},
      {"ExportOfAFolderThatIsNoRun",
       5,
       {"empty"},
       [](const Scratch& scratch) {
         std::filesystem::create_directory(scratch.path() / "empty");
         return std::vector<std::string>{"export", scratch / "empty", "--to=" + (scratch / "hf")};
       }},
  };
}

std::vector<BadInput> rank_cases() {
  return {
      flags("NoRanks", 2, {"--nproc=0"}, {"nproc", "0"}),
      flags("NegativeRanks", 2, {"--nproc=-2"}, {"nproc", "-2"}),
      flags("TooManyRanks", 2, {"--nproc=1000000"}, {"nproc", "1000000"}),
      flags("GlobalBatchThatRanksDoNotDivide", 2, {"--nproc=2", "--train.batch_size=2", "--train.global_batch_size=5"},
            {"global_batch_size", "5", "2"}),
      flags("DeviceThatIsNotThere", 6, {"--device=cuda"}, {"cuda"}),
      launched("RankWithoutWorld", {{"RANK", "0"}}, {"RANK", "WORLD_SIZE"}),
      launched("RankOutsideTheWorld",
               {{"RANK", "3"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "1"}},
               {"RANK", "3", "2"}),
      launched("RankThatIsText",
               {{"RANK", "one"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "1"}},
               {"RANK", "one"}),
      launched("WorldWithoutAddress", {{"RANK", "0"}, {"WORLD_SIZE", "2"}}, {"MASTER_ADDR"}),
      launched("PortOutOfRange",
               {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "99999"}},
               {"MASTER_PORT", "99999"}),
  };
}

}  // namespace

std::vector<BadInput> bad_place_cases() {
  std::vector<BadInput> cases = folder_cases();
  for (const BadInput& one : rank_cases()) cases.push_back(one);
  return cases;
}

}  // namespace esp::test
