// The library's entry: jobs in, errors out.
#include "runtime/api.hpp"
#include "runtime/plan/dry_run.hpp"
#include "runtime/train/session.hpp"

namespace esp::runtime {
namespace {

class Runtime : public Api {
 public:
  void run(const Job& job, Observer& observer) override {
    if (job.task == Task::kExport) {
      export_weights(job, observer);
      return;
    }
    Session session(job, observer);
    try {
      if (job.task == Task::kTrain) {
        train(session);
      } else {
        evaluate_only(session);
      }
      session.world.control->barrier();  // rank 0 may serve the store: it goes last
    } catch (...) {
      session.abandon(std::current_exception());
      throw;
    }
  }

  MemoryPlan plan(const Job& job) override { return plan_memory(job, nullptr, Touching::kForbidden); }

  std::string torch_stamp() const override { return ESPALIER_TORCH_STAMP; }
};

}  // namespace
}  // namespace esp::runtime

extern "C" __attribute__((visibility("default"))) esp::runtime::Api* espalier_runtime_api(uint32_t version) {
  static esp::runtime::Runtime runtime;
  return version == esp::runtime::kApiVersion ? &runtime : nullptr;
}
