// Why a library was refused: a number from the catalogue in docs/loading.md, what was found, what to do.
#pragma once

#include <string>

#include "error.hpp"

namespace esp {

class LoadError : public Error {
 public:
  // what() reads "L14 path: found, expected, what to do".
  LoadError(int number, const std::string& path, const std::string& text);
  int number() const { return number_; }
  const std::string& text() const { return text_; }  // without number and path

 private:
  int number_;
  std::string text_;
};

}  // namespace esp
