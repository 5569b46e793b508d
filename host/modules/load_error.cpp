#include "modules/load_error.hpp"

namespace esp {

LoadError::LoadError(int number, const std::string& path, const std::string& text)
    : Error(ExitCode::kPlugin, (number < 10 ? "L0" : "L") + std::to_string(number) + " " + path + ": " + text),
      number_(number),
      text_(text) {}

}  // namespace esp
