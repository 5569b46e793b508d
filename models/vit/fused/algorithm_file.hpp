// A file that remembers which algorithm was fastest for a product, so that only the first run on a machine times them.
#pragma once

#include <cublasLt.h>

#include <map>
#include <optional>
#include <string>

namespace esp::vit::fused {

struct RememberedAlgorithm {
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace;
};

// In $ESPALIER_CACHE, else $XDG_CACHE_HOME/espalier, else ~/.cache/espalier. A file that cannot be read or written is
// no error: then products are timed again.
class AlgorithmFile {
 public:
  AlgorithmFile();
  std::optional<RememberedAlgorithm> find(const std::string& key) const;
  // Several processes may remember at once: a line is appended with one write.
  void remember(const std::string& key, const RememberedAlgorithm& chosen);

 private:
  std::string path_;
  std::map<std::string, RememberedAlgorithm> known_;
};

}  // namespace esp::vit::fused
