// A living strategy, model or data set: its table, its `self`, and how its failures become errors of the run.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>

#include "modules/adopt.hpp"
#include "runtime/api.hpp"

namespace esp::runtime {

// Who is called, for messages, and what to do around calls.
struct Callee {
  std::string name;  // "libddp.so:ddp"
  uint32_t kind = ESP_STRATEGY;
  PhaseBoard phases;
  std::function<void()> root_cause;  // throws what failed underneath, if anything did
};

// Throws the Error that a failed call stands for. `function`: e.g. "pre_forward".
[[noreturn]] void throw_call_error(const Callee& callee, const char* function, esp_status status,
                                   const esp_error& error);

// Table: esp_strategy_v1, esp_model_v1 or esp_dataset_v1.
template <class Table>
class ComponentInstance {
 public:
  // Creates the instance; `config` must outlive it. Throws Error.
  ComponentInstance(const Instance& instance, Callee callee, const char* table_id, const esp_host* host,
                    const esp_config* config)
      : callee_(std::move(callee)) {
    const void* table = instance.component->table(table_id);
    if (table == nullptr) {
      throw Error(ExitCode::kPlugin, callee_.name + " offers no table " + table_id);
    }
    table_ = adopt<Table>(table);
    esp_error error;
    clear(error);
    const PhaseBoard::Before before = enter("create");
    const esp_status status = instance.component->create(host, config, &self_, &error);
    before.resume();
    if (status != ESP_OK) throw_call_error(callee_, "create", status, error);
  }
  ~ComponentInstance() {
    const PhaseBoard::Before before = enter("destroy");
    table_.destroy(self_);
    before.resume();
  }
  ComponentInstance(const ComponentInstance&) = delete;
  ComponentInstance& operator=(const ComponentInstance&) = delete;

  // Calls a function of the table with `self` before and an esp_error behind the arguments; throws when it fails.
  template <class Function, class... Args>
  void call(const char* name, Function Table::*function, Args... args) {
    esp_error error;
    clear(error);
    const PhaseBoard::Before before = enter(name, &(table_.*function));
    const esp_status status = (table_.*function)(self_, args..., &error);
    before.resume();  // but not when an exception comes through, which is the plugin's
    if (status != ESP_OK) throw_call_error(callee_, name, status, error);
  }
  // The same for functions that may be absent.
  template <class Function, class... Args>
  void call_if_present(const char* name, Function Table::*function, Args... args) {
    if (table_.*function != nullptr) call(name, function, args...);
  }

  const Table& table() const { return table_; }
  void* self() const { return self_; }
  const std::string& name() const { return callee_.name; }

 private:
  // Every hook comes through here: only what is read when nothing was written.
  static void clear(esp_error& error) {
    error.struct_size = sizeof error;
    error.code = ESP_OK;
    error.rule = error.reserved = 0;
    error.where[0] = error.message[0] = '\0';
  }
  std::string phase_text(const char* function) const { return std::string(function) + " of " + callee_.name; }
  PhaseBoard::Before enter(const char* function) const {
    return callee_.phases.enter(phase_text(function).c_str(), true);
  }
  // place: of the function in the table, which tells where its number is kept.
  PhaseBoard::Before enter(const char* function, const void* place) {
    if (callee_.phases.name == nullptr) return {};
    const auto offset = static_cast<const char*>(place) - reinterpret_cast<const char*>(&table_);
    std::atomic<uint32_t>& known = phases_[static_cast<size_t>(offset) / sizeof(void*)];
    uint32_t number = known.load(std::memory_order_relaxed);
    if (number == 0) {
      number = callee_.phases.name(phase_text(function).c_str(), true);
      known.store(number, std::memory_order_relaxed);
    }
    return callee_.phases.enter(number);
  }

  Callee callee_;
  Table table_{};
  void* self_ = nullptr;
  std::atomic<uint32_t> phases_[sizeof(Table) / sizeof(void*)] = {};  // by function; 0: not called yet
};

using Strategy = ComponentInstance<esp_strategy_v1>;
using Model = ComponentInstance<esp_model_v1>;
using Dataset = ComponentInstance<esp_dataset_v1>;

}  // namespace esp::runtime
