#include "verify/executor.hpp"

#include <espalier/host.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "verify/element.hpp"

namespace esp::verify {
namespace {

struct Id {
  size_t rank, op;
  bool operator==(const Id&) const = default;
};

const char* name_of(Meeting kind) {
  switch (kind) {
    case Meeting::kAllReduce:
      return "all_reduce";
    case Meeting::kReduceScatter:
      return "reduce_scatter";
    case Meeting::kAllGather:
      return "all_gather";
    default:
      return "norm_finish";
  }
}

// By communicator and rank: its meetings in the order of their calls.
using Sequences = std::map<uint64_t, std::map<int, std::vector<Id>>>;

Sequences sequences_of(const std::vector<std::vector<Op>>& work) {
  Sequences all;
  for (size_t rank = 0; rank < work.size(); ++rank) {
    for (size_t i = 0; i < work[rank].size(); ++i) {
      const Collective& meeting = work[rank][i].meeting;
      if (meeting.kind == Meeting::kNone) continue;
      for (int member : meeting.members) all[meeting.group][member];
      all[meeting.group][static_cast<int>(rank)].push_back({rank, i});
    }
  }
  return all;
}

bool agree(const Collective& a, const Collective& b) {
  return a.kind == b.kind && a.n == b.n && a.dtype == b.dtype && a.op == b.op && a.members == b.members;
}

// Whether all members issue the same.
bool check(const std::vector<std::vector<Op>>& work, const Sequences& sequences, Findings& findings) {
  for (const auto& [group, by_rank] : sequences) {
    const auto& [first_rank, first] = *by_rank.begin();
    for (const auto& [rank, ids] : by_rank) {
      for (size_t i = 0; i < std::max(ids.size(), first.size()); ++i) {
        const Op* mine = i < ids.size() ? &work[ids[i].rank][ids[i].op] : nullptr;
        const Op* theirs = i < first.size() ? &work[first[i].rank][first[i].op] : nullptr;
        if (mine != nullptr && theirs != nullptr && agree(mine->meeting, theirs->meeting)) continue;
        const auto text = [](const Op* op) { return op == nullptr ? std::string("nothing") : text_of(op->meeting); };
        findings.add("COMM-01",
                     "collective number " + std::to_string(i) + ": rank " + std::to_string(first_rank) + " calls " +
                         text(theirs) + ", rank " + std::to_string(rank) + " " + text(mine),
                     mine != nullptr ? mine->where : theirs->where);
        return false;
      }
    }
  }
  return true;
}

double combine(double a, double b, uint32_t op, esp_dtype dtype) {
  if (op == ESP_MAX || op == ESP_MIN) {
    if (std::isnan(a) || std::isnan(b)) return std::nan("");
    return op == ESP_MAX ? std::max(a, b) : std::min(a, b);
  }
  return dtype == ESP_F64 ? a + b : static_cast<double>(static_cast<float>(a) + static_cast<float>(b));
}

std::vector<double> reduced(const std::vector<Collective>& parts, uint64_t n) {
  const Collective& first = parts.front();
  std::vector<double> result(n);
  for (uint64_t i = 0; i < n; ++i) {
    double value = load(first.in, i, first.dtype);
    for (size_t r = 1; r < parts.size(); ++r)
      value = combine(value, load(parts[r].in, i, first.dtype), first.op, first.dtype);
    if (first.op == ESP_AVG) {
      const auto size = static_cast<double>(parts.size());
      value = first.dtype == ESP_F64 ? value / size : static_cast<float>(value) / static_cast<float>(size);
    }
    result[i] = value;
  }
  return result;
}

void gather(const std::vector<Collective>& parts) {
  const uint64_t bytes = parts.front().n * ESP_DTYPE_BYTES(parts.front().dtype);
  std::vector<char> all(bytes * parts.size());
  for (size_t r = 0; r < parts.size(); ++r) {
    if (bytes > 0) std::memcpy(all.data() + r * bytes, parts[r].in, bytes);
  }
  for (const Collective& part : parts) {
    if (bytes > 0) std::memcpy(part.out, all.data(), all.size());
  }
}

// parts: in the order of the members.
void meet(const std::vector<Collective>& parts) {
  const Collective& first = parts.front();
  const size_t size = parts.size();
  if (first.kind == Meeting::kAllGather) return gather(parts);
  if (first.kind == Meeting::kNorm) {
    double sum = 0;
    for (const Collective& part : parts) sum += *part.norm;
    for (const Collective& part : parts) *part.norm = sum;
    return;
  }
  const bool scatters = first.kind == Meeting::kReduceScatter;
  const std::vector<double> result = reduced(parts, scatters ? first.n * size : first.n);
  for (size_t r = 0; r < size; ++r) {
    const uint64_t begin = scatters ? r * first.n : 0;
    for (uint64_t i = 0; i < first.n; ++i) store(parts[r].out, i, first.dtype, result[begin + i]);
  }
}

class Execution {
 public:
  Execution(std::vector<std::vector<Op>>& work, const Sequences& sequences, Order order, std::mt19937_64& random)
      : work_(work), order_(order), random_(random), missing_(work.size()), then_(work.size()) {
    for (const auto& [group, by_rank] : sequences) {
      for (const auto& [rank, ids] : by_rank) {
        for (size_t i = 0; i < ids.size(); ++i) place_[{ids[i].rank, ids[i].op}] = i;
      }
    }
    for (size_t rank = 0; rank < work.size(); ++rank) start(rank);
  }

  bool run() {
    while (!ready_.empty()) {
      const size_t chosen = choose();
      const Id id = ready_[chosen];
      ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(chosen));
      Op& op = work_[id.rank][id.op];
      if (op.meeting.kind == Meeting::kNone) {
        if (op.run) op.run();
        finish(id);
      } else {
        arrive(id);
      }
    }
    return n_done_ == n_all_;
  }

 private:
  void start(size_t rank) {
    const std::vector<Op>& ops = work_[rank];
    missing_[rank].resize(ops.size());
    then_[rank].resize(ops.size());
    n_all_ += ops.size();
    for (size_t i = 0; i < ops.size(); ++i) {
      const std::set<size_t> before(ops[i].before.begin(), ops[i].before.end());
      missing_[rank][i] = before.size();
      for (size_t earlier : before) then_[rank][earlier].push_back(i);
      if (before.empty()) ready_.push_back({rank, i});
    }
  }

  size_t choose() {
    if (order_ == Order::kRandom) return std::uniform_int_distribution<size_t>(0, ready_.size() - 1)(random_);
    size_t best = 0;
    for (size_t i = 1; i < ready_.size(); ++i) {
      if (comes_before(ready_[i], ready_[best])) best = i;
    }
    return best;
  }
  bool comes_before(const Id& a, const Id& b) const {
    const bool a_computes = work_[a.rank][a.op].on_compute, b_computes = work_[b.rank][b.op].on_compute;
    if (order_ != Order::kIssued && a_computes != b_computes) return a_computes == (order_ == Order::kComputeFirst);
    return a.op != b.op ? a.op < b.op : a.rank < b.rank;
  }

  void arrive(const Id& id) {
    const Collective& mine = work_[id.rank][id.op].meeting;
    std::vector<Id>& there = waiting_[{mine.group, place_.at({id.rank, id.op})}];
    there.push_back(id);
    if (there.size() < mine.members.size()) return;
    std::vector<Collective> parts;
    for (int member : mine.members) {
      for (const Id& one : there) {
        if (static_cast<int>(one.rank) == member) parts.push_back(work_[one.rank][one.op].meeting);
      }
    }
    meet(parts);
    for (const Id& one : there) finish(one);
  }

  void finish(const Id& id) {
    ++n_done_;
    for (size_t next : then_[id.rank][id.op]) {
      if (--missing_[id.rank][next] == 0) ready_.push_back({id.rank, next});
    }
  }

  std::vector<std::vector<Op>>& work_;
  const Order order_;
  std::mt19937_64& random_;
  std::vector<std::vector<size_t>> missing_;            // [rank][op]: how many must run before
  std::vector<std::vector<std::vector<size_t>>> then_;  // [rank][op]: who waits for it
  std::map<std::pair<size_t, size_t>, size_t> place_;   // of a meeting in its communicator
  std::map<std::pair<uint64_t, size_t>, std::vector<Id>> waiting_;
  std::vector<Id> ready_;
  size_t n_all_ = 0, n_done_ = 0;
};

}  // namespace

std::string text_of(const Collective& collective) {
  std::ostringstream text;
  text << name_of(collective.kind) << " of " << collective.n << " elements of " << ESP_DTYPE_BYTES(collective.dtype)
       << " bytes, op " << collective.op << ", on communicator " << collective.group;
  return text.str();
}

bool execute(std::vector<std::vector<Op>>& work, Order order, std::mt19937_64& random, Findings& findings) {
  const Sequences sequences = sequences_of(work);
  if (!check(work, sequences, findings)) return false;
  return Execution(work, sequences, order, random).run();
}

}  // namespace esp::verify
