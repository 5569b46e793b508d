// The host of one rank: the tables that the plugin calls, each call checked and recorded.
#pragma once

#include <espalier/strategy.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "verify/arena.hpp"
#include "verify/finding.hpp"
#include "verify/optimizer.hpp"
#include "verify/toy.hpp"
#include "verify/work.hpp"

namespace esp::verify {

// Device memory of the host at fixed addresses.
struct ScalarBlock {
  float lr[2] = {}, weight_decay[2] = {};
  float coef = 1, applied_steps = 0, loss_scale = 1, found_inf = 0, grad_norm = 0;
  uint64_t step = 0;
};

enum class Role {
  kPlan,
  kMain,
  kStep,
  kIdle  // no function of the plugin's tables runs
};

struct RankSettings {
  int rank = 0, world = 1;
  esp_dtype master = ESP_F32;
  bool infer = false;
  OptimizerSettings optimizer;
  uint64_t budget_device = 0;
  int64_t refuse_allocation = -1;  // number of the alloc call that fails
  bool dry = false;
};

// [one thread at a time]
class RankHost {
 public:
  RankHost(const RankSettings& settings, const Toy& toy, Findings& findings, std::function<void(int rank)> meet);
  RankHost(const RankHost&) = delete;

  const esp_host& host() const { return host_; }
  const esp_binder& binder() const { return binder_; }
  esp_stream compute() { return streams_[0].get(); }
  esp_stream grads() { return streams_[1].get(); }

  // Whose code runs, for checks and messages.
  Role role = Role::kMain;
  Where here;
  bool training = false;  // in a step that updates

  void fork(int64_t segment);  // a step begins: what was enqueued before is done
  // Enqueues what the host or the model does.
  size_t enqueue(const std::string& name, esp_stream stream, std::function<void()> run);
  void order(esp_stream earlier, esp_stream later);
  void reads(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, false);
  }
  void writes(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, true);
  }
  void set_update_flags(uint32_t flags) { desc_.flags = flags; }
  bool has_barrier() const { return (desc_.flags & ESP_UPDATE_BARRIER) != 0; }
  // Calls function(esp_error*), which calls the plugin, in its role; `name` is for messages. A failure is a finding,
  // unless the plugin may refuse what it is asked. Returns the text of the failure.
  template <class Function>
  std::optional<std::string> call(Role of_call, const char* name, const Function& function, bool may_refuse = false) {
    enter(of_call, name);
    esp_error error{};
    error.struct_size = sizeof error;
    const esp_status status = function(&error);
    role = Role::kIdle;
    if (status == ESP_OK) return std::nullopt;
    return failed(name, status, error, may_refuse);
  }
  // The plugin's destroy; what it wrote beside its memory is a finding.
  template <class Function>
  void destroy(const Function& function) {
    enter(Role::kMain, "destroy");
    function();
    for (const std::string& damage : arena.damages()) found("MEM-04", damage);
  }
  void found(const char* rule, const std::string& what) { findings_.add(rule, what, here); }

  // Of the current step.
  struct Step {
    double square_sum = 0;
    double norm = 0, coef = 1;
    bool overflow = false;
    uint64_t norm_elements = 0;
    int norms_finished = 0;
    bool norm_is_shared = false;
    std::map<uint32_t, std::vector<uint32_t>> applied;  // [param][element]: times
  };
  Step step;

  const RankSettings settings;
  uint64_t device_limit = settings.budget_device;  // bytes of ESP_DEVICE memory, 0 = none
  const Toy& toy;
  Arena arena;
  ScalarBlock scalars;
  std::vector<Op> ops;
  std::map<uint32_t, esp_bind> params, gradients;  // as bound
  std::set<uint32_t> armed;                        // gradients bound with NOW and not written since
  esp_plan plan{};
  uint64_t allocations_asked = 0;
  // Gradients that apply was given, without the loss scale, looked at when it runs.
  std::function<void(uint32_t param, uint64_t element, double gradient)> on_update;

 private:
  friend struct DeviceTable;
  friend struct MemoryTable;
  friend struct CommTable;
  friend struct KernelTable;
  friend struct UpdateTable;
  friend struct BindTable;

  struct Access {
    const char *begin, *end;
    size_t op;
    bool writes;
  };
  void enter(Role of_call, const char* name);
  std::string failed(const char* function, esp_status status, const esp_error& error, bool may_refuse);
  void touch(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any, bool writes);
  bool usable(const void* data, uint64_t bytes, const std::string& what);
  bool own(esp_stream stream);
  bool own(esp_event event);
  bool own(esp_comm comm);
  size_t enqueue_meeting(const std::string& name, esp_stream stream, Collective meeting);
  bool is_scalar(const void* data) const;

  Findings& findings_;
  std::function<void(int)> meet_;
  std::vector<Access> accesses_;
  std::vector<size_t> norm_ops_;
  size_t norm_finish_op_ = 0;
  std::map<uint64_t, size_t> last_meeting_;  // by communicator
  int64_t segment_ = 0;
  esp_slot slots_[2]{};
  const esp_slot* slot_list_[2]{};
  esp_update_desc desc_{};
  esp_scalars scalar_table_{};
  esp_host host_{};
  esp_binder binder_{};
  std::vector<std::unique_ptr<esp_stream_s>> streams_;
  std::vector<std::unique_ptr<esp_event_s>> events_;
  std::vector<std::unique_ptr<esp_comm_s>> comms_;
};

// "param 3" with its name.
std::string param_text(const Toy& toy, uint32_t param);

const void* service_table(void* ctx, const char* id);
RankHost& called_host(void* ctx);  // for every function of the tables: notes calls that come out of turn
const esp_device_v1& device_table();
const esp_memory_v1& memory_table();
const esp_comm_v1& comm_table();
const esp_kernels_v1& kernel_table();
const esp_update_v1& update_table();
esp_status bind_call(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error);

// Fills *error (which may be NULL) and returns the code.
esp_status refuse(esp_error* error, esp_status code, const std::string& text);

}  // namespace esp::verify
