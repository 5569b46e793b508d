// Where ranks of one process meet for a collective. They wait for each other and for nobody else: no lock orders what
// the collectives do not order, so that ThreadSanitizer sees what a strategy forgot.
#pragma once

#include <espalier/host.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

class MockWorld {
 public:
  explicit MockWorld(int size);
  int size() const { return size_; }

  // Collectives with the same number meet, whatever threads they are called on: number n is each rank's n-th.
  void all_reduce(int rank, uint64_t number, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op);
  void reduce_scatter(int rank, uint64_t number, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                      uint32_t op);
  void all_gather(int rank, uint64_t number, const void* in, void* out, uint64_t n_in, esp_dtype dtype);
  double sum(int rank, uint64_t number, double value);

 private:
  using Parts = std::vector<std::vector<double>>;  // [rank]
  struct Meeting {
    std::atomic<uint64_t> arrived{0}, left{0};  // of all meetings that have had this place
    Parts parts;
  };
  // Gives the rank's part and calls take with those of all ranks.
  template <class Take>
  void meet(int rank, uint64_t number, std::vector<double> part, const Take& take);

  const int size_;
  std::array<Meeting, 64> meetings_;  // by number, in turn
};
