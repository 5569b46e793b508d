// Memory that is only counted: blocks are address space, so a plan for more than any machine has costs nothing.
#pragma once

#include "runtime/device/memory.hpp"

namespace esp::runtime {

class CountingMemory final : public Memory {
 public:
  // From now on new blocks must not be touched: whoever does dies of SIGSEGV there, instead of working by luck.
  void forbid_touching() { touchable_ = false; }

 protected:
  void* allocate(uint32_t place, uint64_t bytes) override;
  void release(uint32_t place, void* memory, uint64_t bytes) override;

 private:
  bool touchable_ = true;
};

}  // namespace esp::runtime
