// What libraries do and answer when they are opened: L30 to L39 and L61, found in a child process.
#include "modules/probe.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <ostream>
#include <string>

#include "modules/process_state.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace {

using test::expect_refusal;
using test::fixture;
using namespace std::chrono_literals;

void probe(const std::string& name, std::chrono::milliseconds limit = 10s) {
  probe_library(fixture(name), read_plugin_file(fixture(name)), limit);
}

struct Fault {
  std::string fixture;
  int number;
  std::string part;  // of the message
  std::chrono::milliseconds limit = 10s;
};

void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.fixture; }

class ProbeRefuses : public testing::TestWithParam<Fault> {};

TEST_P(ProbeRefuses, TheFixtureWithItsNumber) {
  const Fault& fault = GetParam();
  const ProcessState before = ProcessState::now();
  const auto start = std::chrono::steady_clock::now();
  expect_refusal(fault.number, fault.part, [&] { probe(fault.fixture, fault.limit); });
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
  EXPECT_EQ(before.changes(ProcessState::now()), "");
}

INSTANTIATE_TEST_SUITE_P(
    , ProbeRefuses,
    testing::Values(
        Fault{"unresolved_symbol", 30, "cannot be loaded: undefined symbol: espalier_nobody_defines_this; link"},
        Fault{"crash_on_load", 31, "signal 11 (Segmentation fault) during its static initialisers"},
        Fault{"exit_on_load", 31, "exit code 0"}, Fault{"crash_in_entry", 31, "during esp_plugin_entry_v1"},
        Fault{"crash_in_table", 31, "signal 8"},
        Fault{"hang_on_load", 32, "still in its static initialisers after 0.3 s", 300ms},
        Fault{"hang_in_entry", 32, "still in esp_plugin_entry_v1 after 0.3 s", 300ms},
        Fault{"entry_error", 33, "status 9: toy wants a?host with towels"},
        Fault{"abort_on_load", 34, "aborted during its static initialisers"},
        Fault{"throw_in_entry", 34, "std::runtime_error: no towel in the entry"},
        Fault{"throw_on_load", 34, "static initialisers"}, Fault{"throw_static_runtime", 34, "exception escaped"},
        Fault{"null_answer", 35, "NULL"}, Fault{"tiny_struct", 35, "struct_size 8"},
        Fault{"absurd_count", 35, "2147483647 components"}, Fault{"absurd_option_count", 35, "2147483647 options"},
        Fault{"not_utf8", 35, "strategy toy: its summary"}, Fault{"short_table", 35, "struct_size 16"},
        Fault{"duplicate_ids", 36, "\"toy\""}, Fault{"ill_formed_id", 36, "\"Toy Strategy\""},
        Fault{"default_outside_range", 37, "option \"period\" has a default outside its range"},
        Fault{"duplicate_key", 37, "\"period\" twice"}, Fault{"enum_without_choices", 37, "option \"kind\""},
        Fault{"missing_functions", 38, "lacks prepare, state"}, Fault{"no_table", 38, "no table esp.strategy/"},
        Fault{"no_create", 38, "lacks create"}, Fault{"adapts_without_adapt", 39, "ADAPTS"},
        Fault{"unknown_critical_cap", 39, "capability"}, Fault{"flush_to_zero", 61, "flush-to-zero"},
        Fault{"signal_handler", 61, "SIGINT"}, Fault{"working_folder", 61, "/proc"}, Fault{"locale", 61, "locale"}),
    [](const auto& info) { return info.param.fixture; });

TEST(Probe, AcceptsAGoodPlugin) { EXPECT_NO_THROW(probe("toy")); }

TEST(Probe, KeepsWhatALibraryPrintsAwayFromTheUser) {
  testing::internal::CaptureStdout();
  EXPECT_NO_THROW(probe("noise_on_load"));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

TEST(Probe, LeavesNoChildBehind) {
  EXPECT_THROW(probe("hang_in_entry", 50ms), LoadError);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace esp
