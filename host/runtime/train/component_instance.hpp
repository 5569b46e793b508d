// A living strategy, model or data set: its table, its `self`, and how its failures become errors of the run.
#pragma once

#include <cstdint>
#include <cstdio>
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
  void (*set_phase)(const char*, bool in_plugin) = nullptr;  // see Job
  std::function<void()> root_cause;                          // throws what failed underneath, if anything did
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
    enter("create");
    esp_error error = empty_error();
    const esp_status status = instance.component->create(host, config, &self_, &error);
    if (status != ESP_OK) throw_call_error(callee_, "create", status, error);
  }
  ~ComponentInstance() {
    enter("destroy");
    table_.destroy(self_);
  }
  ComponentInstance(const ComponentInstance&) = delete;
  ComponentInstance& operator=(const ComponentInstance&) = delete;

  // Calls a function of the table with `self` before and an esp_error behind the arguments; throws when it fails.
  template <class Function, class... Args>
  void call(const char* name, Function Table::*function, Args... args) {
    enter(name);
    esp_error error = empty_error();
    const esp_status status = (table_.*function)(self_, args..., &error);
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
  static esp_error empty_error() {
    esp_error error{};
    error.struct_size = sizeof error;
    return error;
  }
  void enter(const char* function) const {
    if (callee_.set_phase == nullptr) return;
    char text[192];  // every hook comes through here: no allocation
    std::snprintf(text, sizeof text, "%s of %s", function, callee_.name.c_str());
    callee_.set_phase(text, true);
  }

  Callee callee_;
  Table table_{};
  void* self_ = nullptr;
};

using Strategy = ComponentInstance<esp_strategy_v1>;
using Model = ComponentInstance<esp_model_v1>;
using Dataset = ComponentInstance<esp_dataset_v1>;

}  // namespace esp::runtime
