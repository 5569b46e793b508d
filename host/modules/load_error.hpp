// Why a library was refused: a number from the catalogue in docs/plugin-authors.md, what was found, what to do.
#pragma once

#include <string>

#include "error.hpp"

namespace esp {

class LoadError : public Error {
 public:
  // what() reads "L14 path: found, expected, what to do".
  LoadError(int number, const std::string& path, const std::string& text);
  int number() const { return number_; }

 private:
  int number_;
};

}  // namespace esp
