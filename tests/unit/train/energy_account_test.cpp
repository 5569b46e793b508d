#include "runtime/train/energy_account.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace esp::runtime {
namespace {

constexpr const char* kGpu = "000102030405060708090a0b0c0d0e0f";

// Ranks that all tell the same.
class Alike final : public ControlGroup {
 public:
  explicit Alike(int32_t size) : size_(size) {}
  int32_t rank() const override { return 0; }
  int32_t size() const override { return size_; }
  std::string broadcast(const std::string& bytes, int32_t) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override {
    return std::vector<std::string>(static_cast<size_t>(size_), bytes);
  }
  void all_reduce(std::span<double>, ControlOp) override {}
  void barrier() override {}

 private:
  int32_t size_;
};

TEST(GpuEnergy, ReadsTheCounterOfTheGpuThatIsAskedFor) {
  const GpuEnergy energy(kGpu);
  const auto first = energy.joules(), second = energy.joules();
  ASSERT_TRUE(first && second);
  EXPECT_DOUBLE_EQ(*second - *first, 5);
}

TEST(GpuEnergy, IsNotToldOfAGpuThatIsNotThereNorOfACpu) {
  EXPECT_FALSE(GpuEnergy("ff0102030405060708090a0b0c0d0e0f").joules());
  EXPECT_FALSE(GpuEnergy("").joules());
  EXPECT_EQ(nvml_uuid("0102"), "");
}

TEST(EnergyAccount, LeavesOutWhatIsTakenInAPause) {
  EnergyAccount account(kGpu);
  const auto count = [&] {
    account.resume();
    std::this_thread::sleep_for(std::chrono::milliseconds(260));  // the time itself is what is counted
    EXPECT_TRUE(account.pause());
  };
  Alike ranks(3);
  count();
  EXPECT_FALSE(account.joules(ranks)) << "too short to be told from noise";
  GpuEnergy(kGpu).joules();
  EXPECT_FALSE(account.pause());
  count();
  const auto joules = account.joules(ranks);
  ASSERT_TRUE(joules);
  EXPECT_DOUBLE_EQ(*joules, 10);  // three ranks share the GPU
}

TEST(SumOverGpus, AddsEachGpuOnceAndKnowsNothingWhereOneIsSilent) {
  EXPECT_DOUBLE_EQ(sum_over_gpus({"a 1.5", "b 2", "a 1.6"}).value(), 3.5);
  EXPECT_FALSE(sum_over_gpus({"a 1.5", ""}));
}

}  // namespace
}  // namespace esp::runtime
