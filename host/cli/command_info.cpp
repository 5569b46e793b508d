#include "cli/command_info.hpp"

namespace esp::cli {
namespace {

constexpr const char* kVerifyFlags[] = {"plugin",   "only",  "seed",  "repro",  "with",
                                        "numerics", "world", "junit", "timeout"};
constexpr const char* kVerifySwitches[] = {"in-process"};

constexpr CommandInfo kCommands[] = {
    {"run", "[-c FILE] [--TABLE.KEY=VALUE ...]", "train a model with a strategy",
     R"(  -c, --config FILE   settings from a TOML file; flags win over it
  --KEY=VALUE         the same as --run.KEY=VALUE

Examples:
  host run --plugin=libddp.so
  host run --plugin=libddp.so --nproc=2 --data.path=beans --train.epochs=6 --optimizer.lr=5e-4
  host run -c fine_tune.toml --train.batch_size=32
  torchrun --no-python --nproc-per-node 2 host run --plugin=libddp.so
)",
     true, false, false, 0, 0},
    {"eval", "[-c FILE] [--TABLE.KEY=VALUE ...]", "score a model on a split, without training",
     R"(  -c, --config FILE   settings from a TOML file; flags win over it
  --KEY=VALUE         the same as --run.KEY=VALUE

Examples:
  host eval --model.weights=out/run1/model --data.path=beans --data.split=test
)",
     true, false, false, 0, 0},
    {"plan", "[-c FILE] [--json] [--TABLE.KEY=VALUE ...]", "memory per rank, before anything is started",
     R"(  -c, --config FILE   settings from a TOML file; flags win over it
  --json              as one JSON document
  --KEY=VALUE         the same as --run.KEY=VALUE

With --plugin: bytes by tag of one strategy; the exit code is 6 when they do not fit. Without: all strategies that the
search finds, every value of their option `stage`, and the largest batch that fits into device_budget, else into what
is free. No GPU and no images are needed; where the data cannot be found, set model.num_labels.

Examples:
  host plan --plugin=libzero.so --strategy.stage=3 --model.size=large --nproc=8
  host plan --device=cuda --device_budget=80GiB --nproc=8
)",
     true, true, false, 0, 0},
    {"bench", "SWEEP.toml [--out FOLDER] [--TABLE.KEY=VALUE ...]",
     "run a sweep of cases and compare their speed and memory",
     R"(  --out FOLDER        where results go, and where finished runs are found again [out/<name of the file>]
  --budget SIZE       name the fastest case within that much allocated memory, too
  --retry             run cases again that were refused or failed; finished ones are never run again
  -c, --config FILE   settings from a TOML file; the sweep file and flags win over it
  --KEY=VALUE         the same as --run.KEY=VALUE, for all cases

The file has the tables of a run, [bench], and [sweep]: a list of values for each key that varies. Every
combination is a case and runs in processes of its own; one that is refused or fails is a row of the table.

Examples:
  host bench bench/sweeps/seed_table.toml
  host bench sweep.toml --bench.repeats=5 --budget=2GiB
)",
     true, false, false, 1, 1, true, true},
    {"compare", "FIRST SECOND", "tell whether the second result is slower than the first",
     R"(  FIRST, SECOND       folders of two sweeps or of two runs

Exit code 0: equal or better. 1: slower beyond noise, lost, or not the same work any more.

Example:
  host compare out/before out/after
)",
     false, false, false, 2, 2},
    {"report", "FOLDER [--budget SIZE]", "write report.html anew, of a sweep or of a run",
     R"(  --budget SIZE       of a sweep: name the fastest case within that much allocated memory, too

Examples:
  host report out/run1
  host report out/seed_table --budget=2GiB
)",
     false, false, false, 1, 1, true},
    {"export", "RUN --to FOLDER [--dtype fp32|bf16|fp16]", "write the trained weights of a run as an HF folder",
     R"(  --to FOLDER         folder to write; it must not exist, or be empty
  --dtype TYPE        type of the weights in the file [fp32]

Examples:
  host export out/run1 --to beans-vit
  host export out/run1 --to beans-vit --dtype bf16
)",
     false, false, true, 1, 1},
    {"plugins list", "[--json]", "list the libraries that the search finds",
     R"(  --json              as one JSON document

Searched: the folders of ESPALIER_PLUGIN_PATH, then ../lib/espalier beside the executable.
)",
     false, true, false, 0, 0},
    {"plugins inspect", "LIBRARY [--json]", "show a library's components and their options",
     R"(  --json              as one JSON document

Examples:
  host plugins inspect libddp.so
  host plugins inspect ./libmine.so --json
)",
     false, true, false, 1, 1},
    {"plugins new", "strategy|model|dataset NAME [DIR]", "write a project for a plugin of your own",
     R"(  NAME                a-z, 0-9, _ and -; the library becomes lib<NAME>.so
  DIR                 folder to write [NAME]; it must not exist, or be empty

The project builds with CMake and an installed or staged Espalier, is checked by ctest, and trains with its run.toml.

Example:
  host plugins new strategy my-plan
)",
     false, false, false, 2, 3},
    {"plugins schema", "LIBRARY[:COMPONENT]", "JSON Schema of the TOML of a run with this library, for editors",
     R"(
Example:
  host plugins schema libzero.so > zero.schema.json     then, first line of the TOML:  #:schema zero.schema.json
)",
     false, false, false, 1, 1},
    {"plugins example", "LIBRARY[:COMPONENT]", "a TOML to start with: all options, their defaults and meanings",
     R"(
Example:
  host plugins example libzero.so > run.toml
)",
     false, false, false, 1, 1},
    {"plugins reference", "LIBRARY[:COMPONENT]", "a page about a library, in Markdown, out of what it declares",
     R"(
Example:
  host plugins reference libzero.so > docs/reference/zero.md
)",
     false, false, false, 1, 1},
    {"verify", "--plugin=LIBRARY[:COMPONENT] [--only=GROUP] [--seed=N] [--json] [--junit=FILE]",
     "hold a plugin to the rules of docs/verify.md, without a GPU",
     R"(  --plugin LIBRARY    the library, and behind a colon one of its components [all]
  --only GROUP        one group of tests, or one test as GROUP/NAME
  --seed N            of delays and orders [42]
  --repro TEST@SEED   one test again, as a report named it
  --with KEY=VALUE    values for the component's options; several with commas between
  --in-process        no process of its own for a test and no time limit: for a debugger
  --world N           most ranks [3]
  --numerics own      a strategy that is not synchronous by design: compare it with itself only
  --timeout SECONDS   of one test [20]
  --json              as one JSON document
  --junit FILE        write a JUnit file, too

Exit code 0: all that applies passes. 1: something does not.

Examples:
  host verify --plugin=libzero.so
  host verify --plugin=./libmine.so --only=streams --seed=7
)",
     false, true, false, 0, 0, false, false, kVerifyFlags, kVerifySwitches},
    {"doctor", "[--json]", "check what a run needs on this machine",
     R"(  --json              as one JSON document
)",
     false, true, false, 0, 0},
};

}  // namespace

std::span<const CommandInfo> command_infos() { return kCommands; }

const CommandInfo* find_command(const std::string& name) {
  for (const CommandInfo& command : kCommands) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

}  // namespace esp::cli
