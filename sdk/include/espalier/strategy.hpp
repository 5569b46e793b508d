// A strategy as a C++ class. Required: plan, prepare, state, state_loaded. Optional: adapt, variant and the hooks;
// those that the class (or a base of it) has end up in the table. Order, threads and meaning: see strategy.h.
//
//   class MyStrategy {
//    public:
//     explicit MyStrategy(esp::Host& host);
//     esp_plan plan(const esp_view& view);                                  // struct_size is filled in
//     void prepare(const esp_view& view, const esp::Binder& binder);
//     void adapt(const esp_profile& profile);
//     uint32_t variant(uint64_t index) noexcept;
//     void begin_step(const esp_step& step);
//     void pre_forward(const esp_step& step, uint32_t unit);                // post_forward, pre_backward,
//     post_backward void end_pass(const esp_step& step); void state(const esp::ShardSink& sink); void state_loaded();
//   };
#ifndef ESPALIER_STRATEGY_HPP
#define ESPALIER_STRATEGY_HPP

#include <espalier/strategy.h>

#include <espalier/plugin.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// Gives parameters and gradients their addresses. The table of the host lives until destroy, so this may be kept.
class Binder {
 public:
  explicit Binder(const esp_binder& binder) : binder_(&binder) {}
  void bind(Slice<const esp_bind> binds) const {
    if (binds.size() > 0) {
      call("bind", binder_->bind, binder_->ctx, binds.data(), static_cast<uint32_t>(binds.size()));
    }
  }

 private:
  const esp_binder* binder_;
};

// Takes the shards of this rank.
class ShardSink {
 public:
  explicit ShardSink(const esp_shard_sink& sink) : sink_(&sink) {}
  void add(esp_shard shard) const {
    shard.struct_size = sizeof shard;
    call("state", sink_->add, sink_->ctx, static_cast<const esp_shard*>(&shard));
  }

 private:
  const esp_shard_sink* sink_;
};

namespace detail {

ESP_HAS_MEMBER(adapt);
ESP_HAS_MEMBER(variant);
ESP_HAS_MEMBER(begin_step);
ESP_HAS_MEMBER(pre_forward);
ESP_HAS_MEMBER(post_forward);
ESP_HAS_MEMBER(pre_backward);
ESP_HAS_MEMBER(post_backward);
ESP_HAS_MEMBER(end_pass);

template <class S>
class StrategyTable {
 public:
  static const void* of(const char* id) {
    static const esp_strategy_v1 table = make();
    return std::strcmp(id, ESP_STRATEGY_ID) == 0 ? &table : nullptr;
  }

 private:
  static S& self_of(void* self) { return Instance<S>::of(self); }

  static esp_status plan(void* self, const esp_view* view, esp_plan* out, esp_error* error) noexcept {
    return guarded("plan", error, [&] { answer(out, self_of(self).plan(*view)); });
  }
  static esp_status prepare(void* self, const esp_view* view, const esp_binder* binder, esp_error* error) noexcept {
    return guarded("prepare", error, [&] { self_of(self).prepare(*view, Binder(*binder)); });
  }
  static esp_status state(void* self, const esp_shard_sink* sink, esp_error* error) noexcept {
    return guarded("state", error, [&] { self_of(self).state(ShardSink(*sink)); });
  }
  static esp_status state_loaded(void* self, esp_error* error) noexcept {
    return guarded("state_loaded", error, [&] { self_of(self).state_loaded(); });
  }

  static void add_step_hooks(esp_strategy_v1& table) {
    if constexpr (HasMember_begin_step<S>::value) {
      table.begin_step = [](void* self, const esp_step* step, esp_error* error) {
        return guarded("begin_step", error, [&] { self_of(self).begin_step(*step); });
      };
    }
    if constexpr (HasMember_end_pass<S>::value) {
      table.end_pass = [](void* self, const esp_step* step, esp_error* error) {
        return guarded("end_pass", error, [&] { self_of(self).end_pass(*step); });
      };
    }
  }

  static void add_unit_hooks(esp_strategy_v1& table) {
    if constexpr (HasMember_pre_forward<S>::value) {
      table.pre_forward = [](void* self, const esp_step* step, uint32_t unit, esp_error* error) {
        return guarded("pre_forward", error, [&] { self_of(self).pre_forward(*step, unit); });
      };
    }
    if constexpr (HasMember_post_forward<S>::value) {
      table.post_forward = [](void* self, const esp_step* step, uint32_t unit, esp_error* error) {
        return guarded("post_forward", error, [&] { self_of(self).post_forward(*step, unit); });
      };
    }
    if constexpr (HasMember_pre_backward<S>::value) {
      table.pre_backward = [](void* self, const esp_step* step, uint32_t unit, esp_error* error) {
        return guarded("pre_backward", error, [&] { self_of(self).pre_backward(*step, unit); });
      };
    }
    if constexpr (HasMember_post_backward<S>::value) {
      table.post_backward = [](void* self, const esp_step* step, uint32_t unit, esp_error* error) {
        return guarded("post_backward", error, [&] { self_of(self).post_backward(*step, unit); });
      };
    }
  }

  static esp_strategy_v1 make() {
    esp_strategy_v1 table{};
    table.struct_size = sizeof table;
    table.plan = &plan;
    table.prepare = &prepare;
    table.destroy = &Instance<S>::destroy;
    table.state = &state;
    table.state_loaded = &state_loaded;
    if constexpr (HasMember_adapt<S>::value) {
      table.adapt = [](void* self, const esp_profile* profile, esp_error* error) {
        return guarded("adapt", error, [&] { self_of(self).adapt(*profile); });
      };
    }
    if constexpr (HasMember_variant<S>::value) {
      static_assert(noexcept(std::declval<S&>().variant(uint64_t{})),
                    "variant has no way to report: declare it noexcept");
      table.variant = [](void* self, uint64_t index) -> uint32_t { return self_of(self).variant(index); };
    }
    add_step_hooks(table);
    add_unit_hooks(table);
    return table;
  }
};

}  // namespace detail

// A strategy for ESP_PLUGIN. caps: ESP_CAP_ bits.
template <class S>
constexpr Registration strategy(const char* id, const char* summary, uint64_t caps) {
  return detail::registration<S>(ESP_STRATEGY, id, summary, caps, &detail::StrategyTable<S>::of);
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_STRATEGY_HPP
