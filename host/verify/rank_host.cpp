#include "verify/rank_host.hpp"

#include <algorithm>
#include <cstring>

#include "verify/element.hpp"
#include "verify/phase_note.hpp"

namespace esp::verify {

esp_status refuse(esp_error* error, esp_status code, const std::string& text) {
  if (error != nullptr) {
    error->code = code;
    std::strncpy(error->where, "host verify", sizeof error->where - 1);
    std::strncpy(error->message, text.c_str(), sizeof error->message - 1);
  }
  return code;
}

std::string param_text(const Toy& toy, uint32_t param) {
  if (param >= Toy::kParams) return "parameter " + std::to_string(param) + " (there is none)";
  return "parameter " + std::to_string(param) + " (" + toy.view().params[param]->name + ")";
}

RankHost::RankHost(const RankSettings& given, const Toy& model, Findings& findings, std::function<void(int)> meet)
    : settings(given), toy(model), arena(given.dry), findings_(findings), meet_(std::move(meet)) {
  for (uint32_t number = 0; number < 2; ++number) {
    streams_.push_back(std::make_unique<esp_stream_s>());
    *streams_.back() = {this, number, ESP_DEVICE, {}, {}};
  }
  comms_.push_back(std::make_unique<esp_comm_s>());
  *comms_.back() = {this, 0, {}, settings.rank};
  for (int rank = 0; rank < settings.world; ++rank) comms_.back()->members.push_back(rank);
  slots_[0] = {sizeof(esp_slot), ESP_F32, settings.optimizer.adamw ? "exp_avg" : "momentum"};
  slots_[1] = {sizeof(esp_slot), ESP_F32, "exp_avg_sq"};
  slot_list_[0] = &slots_[0];
  slot_list_[1] = &slots_[1];
  const uint32_t n_slots = settings.infer ? 0u : settings.optimizer.adamw ? 2u : 1u;
  desc_ = {sizeof desc_, 0, settings.master, n_slots, slot_list_};
  scalar_table_ = {sizeof scalar_table_, 2,
                   scalars.lr,           scalars.weight_decay,
                   &scalars.coef,        &scalars.applied_steps,
                   &scalars.loss_scale,  &scalars.found_inf,
                   &scalars.grad_norm,   &scalars.step};
  host_ = {sizeof host_, 0, this, service_table};
  binder_ = {sizeof binder_, 0, this, bind_call};
  here.rank = settings.rank;
}

void RankHost::enter(Role of_call, const char* name) {
  role = of_call;
  here.call = name;
  note_phase(here);
}

std::string RankHost::failed(const char* function, esp_status status, const esp_error& error, bool may_refuse) {
  const std::string text(error.message, strnlen(error.message, sizeof error.message));
  if (text.empty()) {
    found("LIFE-02", std::string(function) + " failed with code " + std::to_string(status) + " and without a text");
  }
  if (!may_refuse) found("LIFE-01", std::string(function) + " failed: " + text);
  return text.empty() ? "refused without a text" : text;
}

void RankHost::fork(int64_t segment) {
  segment_ = segment;
  ops.clear();
  accesses_.clear();
  norm_ops_.clear();
  last_meeting_.clear();
  step = {};
  for (auto& stream : streams_) {
    stream->seen.clear();
    stream->before.clear();
  }
}

size_t RankHost::enqueue(const std::string& name, esp_stream stream, std::function<void()> run) {
  Op op;
  op.name = name + " on stream " + std::to_string(stream->number);
  op.where = here;
  op.on_compute = stream->number == 0;
  op.before = stream->before;
  op.after = stream->seen;
  op.run = std::move(run);
  ops.push_back(std::move(op));
  stream->seen.insert(ops.size() - 1);
  stream->before = {ops.size() - 1};
  return ops.size() - 1;
}

size_t RankHost::enqueue_meeting(const std::string& name, esp_stream stream, Collective meeting) {
  const auto last = last_meeting_.find(meeting.group);
  if (last != last_meeting_.end()) {
    stream->before.push_back(last->second);
    stream->seen.insert(last->second);
  }
  const size_t number = enqueue(name, stream, {});
  last_meeting_[meeting.group] = number;
  ops[number].meeting = std::move(meeting);
  return number;
}

void RankHost::order(esp_stream earlier, esp_stream later) {
  later->seen.insert(earlier->seen);
  later->before.insert(later->before.end(), earlier->before.begin(), earlier->before.end());
}

bool RankHost::is_scalar(const void* data) const {
  const auto* at = static_cast<const char*>(data);
  const auto* begin = reinterpret_cast<const char*>(&scalars);
  return at >= begin && at < begin + sizeof scalars;
}

bool RankHost::usable(const void* data, uint64_t bytes, const std::string& what) {
  if (bytes == 0) return true;
  const Arena::Allocation* allocation = arena.find(data, bytes);
  if (allocation == nullptr) {
    found("MEM-02", what + ": " + std::to_string(bytes) + " bytes outside the instance's allocations");
    return false;
  }
  if (!allocation->living) {
    found("MEM-03", what + ": memory that was freed");
    return false;
  }
  return true;
}

void RankHost::touch(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any, bool writes) {
  if (bytes == 0 || is_scalar(data)) return;
  const std::string& name = ops[op].name;
  if (!usable(data, bytes, name)) {
    ops[op].run = {};
    return;
  }
  const Arena::Allocation* allocation = arena.find(data, bytes);
  if (!any && allocation->place != stream->place) found("STREAM-03", name + " touches memory of the other place");
  const auto* begin = static_cast<const char*>(data);
  for (const Access& earlier : accesses_) {
    const bool conflicts = earlier.begin < begin + bytes && begin < earlier.end && (writes || earlier.writes);
    if (!conflicts || earlier.op == op || ops[op].after.contains(earlier.op)) continue;
    const Where& where = ops[earlier.op].where;
    found("STREAM-01", name + " may run before " + ops[earlier.op].name + ", which " +
                           (earlier.writes ? "writes" : "reads") + " the same memory (enqueued by " + text_of(where) +
                           ")");
    break;
  }
  accesses_.push_back({begin, begin + bytes, op, writes});
}

bool RankHost::own(esp_stream stream) {
  for (const auto& one : streams_) {
    if (one.get() == stream) return true;
  }
  found("STREAM-05", "a stream that the tables of this instance did not give");
  return false;
}

bool RankHost::own(esp_event event) {
  for (const auto& one : events_) {
    if (one.get() == event) return true;
  }
  found("STREAM-05", "an event that the tables of this instance did not give");
  return false;
}

bool RankHost::own(esp_comm comm) {
  for (const auto& one : comms_) {
    if (one.get() == comm) return true;
  }
  found("STREAM-05", "a communicator that the tables of this instance did not give");
  return false;
}

RankHost& called_host(void* ctx) {
  RankHost& host = *static_cast<RankHost*>(ctx);
  if (host.role == Role::kIdle) host.found("HOOK-03", "a table is called while no hook runs");
  return host;
}

const void* service_table(void*, const char* id) {
  static const esp_log_v1 log = {sizeof(esp_log_v1), 0, [](void*, uint32_t, const char*, uint64_t) {}};
  const std::string name = id == nullptr ? "" : id;
  if (name == ESP_LOG_ID) return &log;
  if (name == ESP_DEVICE_ID) return &device_table();
  if (name == ESP_MEMORY_ID) return &memory_table();
  if (name == ESP_COMM_ID) return &comm_table();
  if (name == ESP_KERNELS_ID) return &kernel_table();
  if (name == ESP_UPDATE_ID) return &update_table();
  return nullptr;
}

}  // namespace esp::verify
