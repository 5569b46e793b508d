// The control group over Gloo, or of one rank.
#pragma once

#include <memory>

#include "runtime/comm/control_group.hpp"
#include "runtime/comm/gloo_group.hpp"

namespace esp::runtime {

class GlooControlGroup final : public ControlGroup {
 public:
  GlooControlGroup(std::unique_ptr<GlooGroup> group, int32_t rank, int32_t size);  // group: NULL for one rank

  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  std::string broadcast(const std::string& bytes, int32_t root) override;
  std::vector<std::string> all_gather(const std::string& bytes) override;
  void all_reduce(std::span<double> values, ControlOp op) override;
  void barrier() override;

 private:
  // Equal sizes; rank r's bytes at r * bytes.
  std::string gather_equal(const void* data, uint64_t bytes, const char* what);

  std::unique_ptr<GlooGroup> group_;
  int32_t rank_, size_;
};

}  // namespace esp::runtime
