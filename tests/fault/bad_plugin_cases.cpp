// Libraries that are no plugins, or not the kind of plugin that is wanted. The fixtures of the loader's own stages have
// their tests beside the loader; these are what a user types.
#include "bad_input.hpp"

namespace esp::test {
namespace {

BadInput plugin(const char* name, std::string file, std::vector<std::string> says) {
  return {name, 3, std::move(says), [file](const Scratch& scratch) { return good_run(scratch, {"--plugin=" + file}); }};
}

BadInput plugin_file(const char* name, std::string content, std::vector<std::string> says) {
  return {name, 3, std::move(says), [content](const Scratch& scratch) {
            return good_run(scratch, {"--plugin=" + scratch.write("libbad.so", content)});
          }};
}

}  // namespace

std::vector<BadInput> bad_plugin_cases() {
  const std::string ddp = read_file(ESPALIER_STAGE "/lib/espalier/libddp.so");
  std::string other_machine = ddp;
  if (other_machine.size() > 20) other_machine[18] = '\xb7';  // e_machine: AArch64
  return {
      plugin("PluginThatIsMissing", "libnowhere.so", {"libnowhere.so"}),
      plugin("PluginPathThatIsMissing", "./no/such/libddp.so", {"no/such/libddp.so"}),
      plugin("PluginThatIsAFolder", "/tmp", {"/tmp"}),
      plugin("PluginWithoutNote", "/lib/x86_64-linux-gnu/libz.so.1", {"libz.so.1", "L12"}),
      plugin("ModelAsStrategy", "libvit.so", {"libvit.so", "strategy"}),
      plugin("ComponentThatTheLibraryLacks", "libddp.so:zero", {"libddp.so", "zero", "ddp"}),
      plugin_file("PluginThatIsText", "this is no library\n", {"libbad.so"}),
      plugin_file("PluginThatIsEmpty", "", {"libbad.so"}),
      plugin_file("PluginCutInHalf", ddp.substr(0, ddp.size() / 2), {"libbad.so"}),
      plugin_file("PluginCutInItsHeader", ddp.substr(0, 40), {"libbad.so"}),
      plugin_file("PluginForAnotherMachine", other_machine, {"libbad.so"}),
      {"PluginThatDoesNotExistWithTwoRanks",
       3,
       {"libnowhere.so"},
       [](const Scratch& scratch) {
         return good_run(scratch, {"--plugin=libnowhere.so", "--nproc=2"});
       }},
      {"StrategyAsModel",
       3,
       {"libddp.so", "model"},
       [](const Scratch& scratch) { return good_run(scratch, {"--model.module=libddp.so"}); }},
  };
}

}  // namespace esp::test
