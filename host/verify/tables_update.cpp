// esp.update: the optimizer's host side, with coverage.
#include <cmath>
#include <sstream>

#include "verify/element.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {
namespace {

// A range of apply, as it was when it was enqueued.
struct Piece {
  esp_range range;
  void* slots[2];
};

}  // namespace

struct UpdateTable {
  static RankHost& of(void* ctx) { return called_host(ctx); }

  static const esp_update_desc* desc(void* ctx) { return &of(ctx).desc_; }
  static const esp_scalars* scalars(void* ctx) { return &of(ctx).scalar_table_; }

  static bool may_update(RankHost& host, const char* what) {
    if (host.role == Role::kStep && host.training) return true;
    host.found("HOOK-05", what);
    return false;
  }

  static esp_status norm_add(void* ctx, const void* grad, uint64_t n, esp_dtype dtype, esp_stream stream,
                             esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(stream) || !may_update(host, "norm_add") || !is_float(dtype)) {
      return refuse(error, ESP_E_STATE, "norm_add outside a training step, on a foreign stream or of no float dtype");
    }
    std::ostringstream name;
    name << "norm_add of " << n << " elements at " << grad;
    host.step.norm_elements += n;
    const size_t op = host.enqueue(name.str(), stream, [&host, grad, n, dtype] {
      for (uint64_t i = 0; i < n; ++i) host.step.square_sum += std::pow(load(grad, i, dtype), 2);
    });
    host.norm_ops_.push_back(op);
    host.reads(op, grad, n * ESP_DTYPE_BYTES(dtype), stream);
    return ESP_OK;
  }

  static esp_status norm_finish(void* ctx, esp_comm shared, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(stream) || (shared != nullptr && !host.own(shared)) || !may_update(host, "norm_finish")) {
      return refuse(error, ESP_E_STATE, "norm_finish outside a training step or with a foreign handle");
    }
    ++host.step.norms_finished;
    host.step.norm_is_shared = shared != nullptr;
    for (size_t op : host.norm_ops_) {
      stream->before.push_back(op);
      stream->seen.insert(op);
    }
    if (shared != nullptr) {
      Collective meeting;
      meeting.kind = Meeting::kNorm;
      meeting.group = shared->number;
      meeting.members = shared->members;
      meeting.norm = &host.step.square_sum;
      host.enqueue_meeting("norm_finish, sum", stream, meeting);
    }
    host.norm_finish_op_ = host.enqueue("norm_finish", stream, [&host] { finish(host); });
    return ESP_OK;
  }

  static void finish(RankHost& host) {
    RankHost::Step& step = host.step;
    step.norm = std::sqrt(step.square_sum) / host.scalars.loss_scale;
    step.overflow = !std::isfinite(step.square_sum);
    const double clip = host.settings.optimizer.clip;
    step.coef = (clip > 0 && step.norm > clip ? clip / step.norm : 1.0) / host.scalars.loss_scale;
    host.scalars.coef = static_cast<float>(step.coef);
    host.scalars.grad_norm = static_cast<float>(step.norm);
    host.scalars.found_inf = step.overflow ? 1.0f : 0.0f;
  }

  static bool check(RankHost& host, const esp_range& range) {
    const bool known = range.param < Toy::kParams && host.toy.trainable(range.param);
    if (!known || range.offset + range.n > host.toy.numel(range.param)) {
      host.found("UPD-02", "apply of [" + std::to_string(range.offset) + ", " + std::to_string(range.offset + range.n) +
                               ") of " + param_text(host.toy, range.param));
      return false;
    }
    const bool slots_missing = host.desc_.n_slots > 0 && range.slots == nullptr;
    if (range.n > 0 && (range.master == nullptr || range.grad == nullptr || slots_missing || !is_float(range.grad_t) ||
                        (range.out != nullptr && !is_float(range.out_t)))) {
      host.found("UPD-05",
                 "apply of " + param_text(host.toy, range.param) + " without a master, slots or a float dtype");
      return false;
    }
    return true;
  }

  static void update(RankHost& host, const Piece& piece) {
    const esp_range& range = piece.range;
    if (host.has_barrier() && host.step.overflow) return;
    const esp_dtype master = host.desc_.master;
    const uint32_t group = host.toy.view().params[range.param]->group;
    for (uint64_t i = 0; i < range.n; ++i) {
      const double coef = host.has_barrier() ? host.step.coef : 1.0;
      const double given = load(range.grad, i, range.grad_t), gradient = given * coef;
      if (host.on_update) host.on_update(range.param, range.offset + i, given / host.scalars.loss_scale);
      double w = load(range.master, i, master);
      double s[2] = {};
      for (uint32_t k = 0; k < host.desc_.n_slots; ++k) s[k] = load(piece.slots[k], i, host.slots_[k].dtype);
      update_element(host.settings.optimizer, group, host.scalars.applied_steps + 1.0, gradient, w, s[0], s[1]);
      for (uint32_t k = 0; k < host.desc_.n_slots; ++k) store(piece.slots[k], i, host.slots_[k].dtype, s[k]);
      store(range.master, i, master, w);
      if (range.out != nullptr) store(range.out, i, range.out_t, load(range.master, i, master));
    }
  }

  static esp_status apply(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(stream) || !may_update(host, "apply")) {
      return refuse(error, ESP_E_STATE, "apply outside a training step or on a foreign stream");
    }
    if (host.has_barrier() && host.step.norms_finished == 0) {
      host.found("UPD-03", "apply before norm_finish");
    }
    if (host.step.norms_finished > 0) {
      stream->before.push_back(host.norm_finish_op_);
      stream->seen.insert(host.norm_finish_op_);
    }
    std::vector<Piece> pieces;
    std::ostringstream name;
    name << "apply";
    for (uint32_t i = 0; i < n; ++i) {
      if (!check(host, *ranges[i])) return refuse(error, ESP_E_INVALID, "a range of apply does not fit");
      Piece piece{*ranges[i], {}};
      for (uint32_t k = 0; k < host.desc_.n_slots && piece.range.n > 0; ++k) piece.slots[k] = piece.range.slots[k];
      name << " [" << piece.range.param << " " << piece.range.offset << " " << piece.range.n << " "
           << piece.range.master << " " << piece.range.grad << " " << piece.range.out << "]";
      std::vector<uint32_t>& times = host.step.applied[piece.range.param];
      times.resize(host.toy.numel(piece.range.param));
      for (uint64_t e = 0; e < piece.range.n; ++e) ++times[piece.range.offset + e];
      pieces.push_back(piece);
    }
    const size_t op = host.enqueue(name.str(), stream, [&host, pieces] {
      for (const Piece& piece : pieces) update(host, piece);
    });
    for (const Piece& piece : pieces) touch(host, op, piece, stream);
    return ESP_OK;
  }

  static void touch(RankHost& host, size_t op, const Piece& piece, esp_stream stream) {
    const esp_range& range = piece.range;
    host.reads(op, range.grad, range.n * ESP_DTYPE_BYTES(range.grad_t), stream);
    host.writes(op, range.master, range.n * ESP_DTYPE_BYTES(host.desc_.master), stream);
    for (uint32_t k = 0; k < host.desc_.n_slots; ++k) {
      host.writes(op, piece.slots[k], range.n * ESP_DTYPE_BYTES(host.slots_[k].dtype), stream);
    }
    if (range.out != nullptr) host.writes(op, range.out, range.n * ESP_DTYPE_BYTES(range.out_t), stream);
  }
};

const esp_update_v1& update_table() {
  using T = UpdateTable;
  static const esp_update_v1 table = {sizeof table, 0, T::desc, T::scalars, T::norm_add, T::norm_finish, T::apply};
  return table;
}

}  // namespace esp::verify
