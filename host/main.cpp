// The executable: dispatches a command, and is the one place where an error becomes a message and an exit code.
#include <espalier/abi.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <new>

#include "cli/commands.hpp"
#include "error.hpp"

namespace {

using esp::ExitCode;

int fail(ExitCode code, const std::string& message) {
  std::string text = "host: ";
  for (const char c : message) text += c == '\n' ? std::string("\nhost: ") : std::string(1, c);
  std::cerr << text << std::endl;
  return static_cast<int>(code);
}

// Closed standard streams become /dev/null: else the next file that is opened would take their place. A reader that
// went away (`host help | head`) is an error of the write, not the end of the process and its ranks.
void prepare_streams() {
  while (true) {
    const int fd = open("/dev/null", O_RDWR);
    if (fd > STDERR_FILENO) close(fd);
    if (fd < 0 || fd > STDERR_FILENO) break;
  }
  std::signal(SIGPIPE, SIG_IGN);
}

int dispatch(const esp::cli::CommandLine& line) {
  namespace cli = esp::cli;
  const auto topic = [&] {
    std::string joined;
    for (const std::string& name : line.names) joined += (joined.empty() ? "" : " ") + name;
    return joined;
  };
  if (line.command == "run") return cli::run(line);
  if (line.command == "eval") return cli::eval(line);
  if (line.command == "plan") return cli::plan(line, std::cout);
  if (line.command == "bench") return cli::bench(line, std::cout);
  if (line.command == "compare") return cli::compare(line, std::cout);
  if (line.command == "report") return cli::report(line, std::cout);
  if (line.command == "export") return cli::export_model(line);
  if (line.command == "plugins list") return cli::plugins_list(std::cout, line.json);
  if (line.command == "plugins inspect") return cli::plugins_inspect(line.names.front(), line.json, std::cout);
  if (line.command == "plugins new") {
    return cli::plugins_new(line.names[0], line.names[1], line.names.size() > 2 ? line.names[2] : "", std::cout);
  }
  if (line.command == "plugins schema") return cli::plugins_schema(line.names.front(), std::cout);
  if (line.command == "plugins example") return cli::plugins_example(line.names.front(), std::cout);
  if (line.command == "plugins reference") return cli::plugins_reference(line.names.front(), std::cout);
  if (line.command == "verify") return cli::verify(line, std::cout);
  if (line.command == "doctor") return cli::doctor(std::cout, line.json);
  if (line.command == "help") return cli::help(topic(), std::cout);
  if (line.command == "version") {
    std::cout << "host " ESPALIER_VERSION " (plugin ABI " << ESP_ABI_MAJOR << "." << ESP_ABI_MINOR << ")\n";
    return 0;
  }
  cli::help("", std::cout);
  return static_cast<int>(ExitCode::kUsage);
}

// What was printed must have arrived, but for a reader that has seen enough.
int finish(int code) {
  errno = 0;
  std::cout.flush();
  if (std::cout.good() || errno == EPIPE || code != 0) return code;
  return fail(ExitCode::kResource,
              std::string("standard output: ") + (errno != 0 ? std::strerror(errno) : "cannot be written"));
}

}  // namespace

int main(int argc, char** argv) {
  prepare_streams();
  try {
    return finish(dispatch(esp::cli::parse_command_line({argv + std::min(argc, 1), argv + argc})));
  } catch (const esp::Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::kResource, "host memory is exhausted");
  } catch (const std::exception& error) {
    return fail(ExitCode::kInternal, std::string("internal error: ") + error.what());
  }
}
