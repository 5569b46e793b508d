// One row an epoch, printed when the epoch ends.
#pragma once

#include <string>

#include "report/table.hpp"
#include "runtime/api.hpp"

namespace esp {

class EpochTable {
 public:
  EpochTable();
  // The row, and the header before the first.
  std::string next(const runtime::EpochReport& report);

 private:
  ColumnTable table_;
  bool empty_ = true;
};

}  // namespace esp
