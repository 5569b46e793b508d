// esp.comm.
#include <sstream>

#include "verify/element.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {

struct CommTable {
  static RankHost& of(void* ctx) { return called_host(ctx); }

  static esp_status data(void* ctx, esp_comm* out, int32_t* rank, int32_t* size) {
    RankHost& host = of(ctx);
    *out = host.comms_.front().get();
    *rank = host.settings.rank;
    *size = host.settings.world;
    return ESP_OK;
  }

  static esp_status subset(void* ctx, esp_comm parent, const int32_t* ranks, uint32_t n, esp_comm* out,
                           esp_error* error) {
    RankHost& host = of(ctx);
    if (host.role != Role::kMain) {
      host.found(host.role == Role::kPlan ? "HOOK-04" : "HOOK-01", "subset");
      return refuse(error, ESP_E_STATE, "communicators are made outside steps");
    }
    if (!host.own(parent)) return refuse(error, ESP_E_INVALID, "a foreign communicator");
    auto comm = std::make_unique<esp_comm_s>();
    *comm = {ctx, host.comms_.size(), {}, -1};
    for (uint32_t i = 0; i < n; ++i) {
      const bool known = ranks[i] >= 0 && ranks[i] < static_cast<int>(parent->members.size());
      if (!known || (i > 0 && ranks[i] <= ranks[i - 1])) {
        host.found("COMM-05", "ranks of subset are not ascending ranks of the parent");
        return refuse(error, ESP_E_INVALID, "ranks of subset");
      }
      if (ranks[i] == parent->place) comm->place = static_cast<int>(i);
      comm->members.push_back(parent->members[static_cast<size_t>(ranks[i])]);
    }
    *out = comm->place >= 0 ? comm.get() : nullptr;
    host.comms_.push_back(std::move(comm));
    return ESP_OK;
  }

  static bool check(RankHost& host, const Collective& collective, uint64_t in_bytes, uint64_t out_bytes) {
    const bool raw = collective.kind == Meeting::kAllGather && collective.dtype == ESP_U8;
    const bool op_fits =
        collective.kind == Meeting::kAllGather || (collective.op >= ESP_SUM && collective.op <= ESP_MIN);
    if ((!is_float(collective.dtype) && !raw) || !op_fits) {
      host.found("COMM-04", text_of(collective));
      return false;
    }
    bool fine = true;
    for (const auto& [data, bytes] :
         {std::pair<const void*, uint64_t>{collective.in, in_bytes}, {collective.out, out_bytes}}) {
      if (bytes == 0) continue;
      if (!host.usable(data, bytes, text_of(collective))) return false;
      const Arena::Allocation* memory = host.arena.find(data, bytes);
      if ((memory->flags & ESP_MEM_COMM) == 0 || memory->place != ESP_DEVICE) {
        host.found("COMM-02", text_of(collective));
        fine = false;
      }
    }
    return fine;
  }

  // part: the smaller range, which may lie in the whole one, but only at this rank's place.
  static void check_place(RankHost& host, const void* whole, uint64_t whole_bytes, const void* part, uint64_t bytes,
                          uint64_t offset) {
    const auto* begin = static_cast<const char*>(whole);
    const auto* own = static_cast<const char*>(part);
    const bool within = bytes > 0 && own < begin + whole_bytes && begin < own + bytes;
    if (within && own != begin + offset) host.found("COMM-03", "input and output overlap elsewhere");
  }

  static esp_status enqueue(void* ctx, esp_comm comm, Collective collective, uint64_t in_bytes, uint64_t out_bytes,
                            esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (host.role == Role::kPlan) host.found("HOOK-04", "a collective");
    if (!host.own(comm) || !host.own(stream)) return refuse(error, ESP_E_INVALID, "a foreign handle");
    collective.group = comm->number;
    collective.members = comm->members;
    if (!check(host, collective, in_bytes, out_bytes)) return refuse(error, ESP_E_INVALID, "memory of a collective");
    std::ostringstream name;
    name << text_of(collective) << " from " << collective.in << " to " << collective.out;
    const size_t op = host.enqueue_meeting(name.str(), stream, collective);
    host.reads(op, collective.in, in_bytes, stream);
    host.writes(op, collective.out, out_bytes, stream);
    return ESP_OK;
  }

  static Collective collective(Meeting kind, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op) {
    Collective result;
    result.kind = kind;
    result.in = in;
    result.out = out;
    result.n = n;
    result.dtype = dtype;
    result.op = op;
    return result;
  }

  static esp_status all_reduce(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n, esp_dtype dtype,
                               uint32_t op, esp_stream stream, esp_error* error) {
    const uint64_t bytes = n * ESP_DTYPE_BYTES(dtype);
    check_place(of(ctx), in, bytes, out, bytes, 0);
    return enqueue(ctx, comm, collective(Meeting::kAllReduce, in, out, n, dtype, op), bytes, bytes, stream, error);
  }
  static esp_status reduce_scatter(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                                   uint32_t op, esp_stream stream, esp_error* error) {
    if (!of(ctx).own(comm)) return refuse(error, ESP_E_INVALID, "a foreign communicator");
    const uint64_t bytes = n_out * ESP_DTYPE_BYTES(dtype), all = bytes * comm->members.size();
    check_place(of(ctx), in, all, out, bytes, bytes * static_cast<uint64_t>(comm->place));
    return enqueue(ctx, comm, collective(Meeting::kReduceScatter, in, out, n_out, dtype, op), all, bytes, stream,
                   error);
  }
  static esp_status all_gather(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n_in, esp_dtype dtype,
                               esp_stream stream, esp_error* error) {
    if (!of(ctx).own(comm)) return refuse(error, ESP_E_INVALID, "a foreign communicator");
    const uint64_t bytes = n_in * ESP_DTYPE_BYTES(dtype), all = bytes * comm->members.size();
    check_place(of(ctx), out, all, in, bytes, bytes * static_cast<uint64_t>(comm->place));
    return enqueue(ctx, comm, collective(Meeting::kAllGather, in, out, n_in, dtype, 0), bytes, all, stream, error);
  }
};

const esp_comm_v1& comm_table() {
  using T = CommTable;
  static const esp_comm_v1 table = {sizeof table, 0, T::data, T::subset, T::all_reduce, T::reduce_scatter,
                                    T::all_gather};
  return table;
}

}  // namespace esp::verify
