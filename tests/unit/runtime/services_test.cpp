#include <atomic>

#include "rig.hpp"
#include "runtime/comm/rendezvous.hpp"
#include "runtime/services/host_services.hpp"

namespace esp::runtime::test {
namespace {

// An instance's view of the host, as a plugin in C has it.
class Services : public Rig {
 protected:
  Services() : world_(connect(RankFacts{}, 10, *device_)) { open({}); }

  void open(ServiceOptions options) {
    options.component = "libx.so:x";
    options.log = [this](uint32_t level, const std::string& component, const std::string& text) {
      log_ += std::to_string(level) + " " + component + " " + text + "\n";
    };
    services_ = std::make_unique<HostServices>(*device_, world_.data.get(), options);
    const esp_host* host = services_->host();
    ctx_ = host->ctx;
    device_table_ = static_cast<const esp_device_v1*>(host->service(ctx_, ESP_DEVICE_ID));
    memory_ = static_cast<const esp_memory_v1*>(host->service(ctx_, ESP_MEMORY_ID));
    comm_ = static_cast<const esp_comm_v1*>(host->service(ctx_, ESP_COMM_ID));
    kernels_ = static_cast<const esp_kernels_v1*>(host->service(ctx_, ESP_KERNELS_ID));
    update_ = static_cast<const esp_update_v1*>(host->service(ctx_, ESP_UPDATE_ID));
  }

  float* floats(uint64_t n, uint32_t place = ESP_DEVICE) {
    void* out = nullptr;
    EXPECT_EQ(memory_->alloc(ctx_, place, n * sizeof(float), ESP_TAG_GRAD, 0, &out, &error_), ESP_OK) << error_.message;
    return static_cast<float*>(out);
  }
  esp_stream stream(uint32_t kind) {
    esp_stream out = nullptr;
    EXPECT_EQ(device_table_->stream_create(ctx_, kind, 0, &out, &error_), ESP_OK) << error_.message;
    return out;
  }
  esp_event event() {
    esp_event out = nullptr;
    EXPECT_EQ(device_table_->event_create(ctx_, &out, &error_), ESP_OK) << error_.message;
    return out;
  }
  esp_stream compute_handle() { return device_table_->compute(ctx_); }
  bool says(const char* text) const { return std::string(error_.message).find(text) != std::string::npos; }

  static esp_error fresh() {
    esp_error error{};
    error.struct_size = ESP_UPTO(esp_error, message);
    return error;
  }

  World world_;
  std::unique_ptr<HostServices> services_;
  void* ctx_ = nullptr;
  const esp_device_v1* device_table_ = nullptr;
  const esp_memory_v1* memory_ = nullptr;
  const esp_comm_v1* comm_ = nullptr;
  const esp_kernels_v1* kernels_ = nullptr;
  const esp_update_v1* update_ = nullptr;
  esp_error error_ = fresh();
  std::string log_;
};

TEST_F(Services, AreThereByKindOfComponent) {
  EXPECT_NE(comm_, nullptr);
  EXPECT_NE(update_, nullptr);
  const auto has = [&](const char* id) { return services_->host()->service(ctx_, id) != nullptr; };
  EXPECT_FALSE(has("esp.nothing/1"));
  EXPECT_FALSE(has(nullptr));
  open({.kind = ESP_MODEL});
  EXPECT_TRUE(has(ESP_LOG_ID) && has(ESP_DEVICE_ID) && has(ESP_MEMORY_ID) && has(ESP_KERNELS_ID));
  EXPECT_FALSE(has(ESP_COMM_ID) || has(ESP_UPDATE_ID));
  open({.kind = ESP_DATASET});
  EXPECT_TRUE(has(ESP_LOG_ID));
  EXPECT_FALSE(has(ESP_MEMORY_ID));
}

TEST_F(Services, LogOneLineWithTheComponent) {
  const auto* log = static_cast<const esp_log_v1*>(services_->host()->service(ctx_, ESP_LOG_ID));
  log->log(ctx_, ESP_LOG_WARNING, "two\nlinesXXX", 9);
  EXPECT_EQ(log_, "2 libx.so:x two lines\n");
}

TEST_F(Services, ForkOrdersEveryStreamAfterComputeAndJoinComputeAfterThem) {
  const esp_stream side = stream(ESP_STREAM_DEVICE);
  const esp_stream cpu = stream(ESP_STREAM_CPU);
  Gate gate;
  int before = 0;
  struct Seen {
    int* before;
    int value;
  } on_side{&before, -1}, on_cpu{&before, -1};
  const auto look = [](void* arg) {
    Seen* seen = *static_cast<Seen**>(arg);
    seen->value = *seen->before;
  };
  device_->enqueue(compute(), [&] {
    gate.pass();
    before = 5;
  });
  services_->fork(StepKind::kTrain);
  Seen* side_arg = &on_side;
  Seen* cpu_arg = &on_cpu;
  ASSERT_EQ(device_table_->call(ctx_, side, look, &side_arg, sizeof(side_arg), &error_), ESP_OK);
  ASSERT_EQ(device_table_->call(ctx_, cpu, look, &cpu_arg, sizeof(cpu_arg), &error_), ESP_OK);
  services_->join();
  int after = 0;
  device_->enqueue(compute(), [&] { after = on_side.value + on_cpu.value; });
  gate.open();
  sync();
  EXPECT_EQ(after, 10);
}

TEST_F(Services, RefuseAllocationCreationAndSyncWithinAStep) {
  for (StepKind kind : {StepKind::kTrain, StepKind::kEval}) {
    services_->fork(kind);
    void* out = nullptr;
    esp_stream made = nullptr;
    esp_event event = nullptr;
    esp_comm all = nullptr, some = nullptr;
    const int32_t self = 0;
    comm_->data(ctx_, &all, nullptr, nullptr);
    EXPECT_EQ(memory_->alloc(ctx_, ESP_DEVICE, 8, ESP_TAG_GRAD, 0, &out, &error_), ESP_E_STATE);
    EXPECT_STREQ(error_.where, "memory.alloc");
    EXPECT_EQ(device_table_->stream_create(ctx_, ESP_STREAM_CPU, 0, &made, &error_), ESP_E_STATE);
    EXPECT_EQ(device_table_->event_create(ctx_, &event, &error_), ESP_E_STATE);
    EXPECT_EQ(device_table_->sync(ctx_, compute_handle(), &error_), ESP_E_STATE);
    EXPECT_EQ(comm_->subset(ctx_, all, &self, 1, &some, &error_), ESP_E_STATE);
    services_->join();
    EXPECT_EQ(device_table_->sync(ctx_, compute_handle(), &error_), ESP_OK);
  }
}

TEST_F(Services, RefuseToFreeWithinAStepAndSaySoInTheLog) {
  float* mine = floats(4);
  const uint64_t used = services_->arena().used(ESP_DEVICE);
  services_->fork(StepKind::kTrain);
  memory_->free(ctx_, mine);
  services_->join();
  EXPECT_EQ(services_->arena().used(ESP_DEVICE), used);
  EXPECT_NE(log_.find("5 libx.so:x memory.free"), std::string::npos) << log_;
  memory_->free(ctx_, mine);
  EXPECT_EQ(services_->arena().used(ESP_DEVICE), used - 256);
}

TEST_F(Services, RefuseToWaitForAnEventOfAnEarlierStep) {
  const esp_stream side = stream(ESP_STREAM_DEVICE);
  const esp_event done = event();
  services_->fork(StepKind::kTrain);
  EXPECT_EQ(device_table_->record(ctx_, done, side, &error_), ESP_OK);
  EXPECT_EQ(device_table_->wait(ctx_, compute_handle(), done, &error_), ESP_OK);
  services_->join();
  services_->fork(StepKind::kTrain);
  EXPECT_EQ(device_table_->wait(ctx_, compute_handle(), done, &error_), ESP_E_STATE);
  EXPECT_TRUE(says("earlier step")) << error_.message;
  EXPECT_EQ(device_table_->record(ctx_, done, side, &error_), ESP_OK);
  EXPECT_EQ(device_table_->wait(ctx_, compute_handle(), done, &error_), ESP_OK);
  services_->join();
}

TEST_F(Services, ReturnTheStickyFailureFromTheNextCallOfAnyTable) {
  float* x = floats(4);
  const auto fail = [](void*) { throw Error(ExitCode::kPeerLost, "the cable was cut"); };
  ASSERT_EQ(device_table_->call(ctx_, compute_handle(), fail, nullptr, 0, &error_), ESP_OK);
  device_->drain();
  EXPECT_EQ(kernels_->zero(ctx_, x, 4, compute_handle(), &error_), ESP_E_COMM);
  EXPECT_STREQ(error_.message, "the cable was cut");
  EXPECT_EQ(device_table_->sync(ctx_, compute_handle(), nullptr), ESP_E_COMM);
  EXPECT_EQ(device_table_->record(ctx_, nullptr, compute_handle(), &error_), ESP_E_COMM);
}

TEST_F(Services, CheckWhereEveryPointerComesFrom) {
  const esp_stream gpu = compute_handle();
  const esp_stream cpu = stream(ESP_STREAM_CPU);
  float* device_side = floats(64);
  float* pinned = floats(64, ESP_PINNED);
  float on_stack[64] = {};
  EXPECT_EQ(kernels_->zero(ctx_, device_side, 256, gpu, &error_), ESP_OK);
  EXPECT_EQ(kernels_->zero(ctx_, pinned, 256, cpu, &error_), ESP_OK);
  device_->drain();
  EXPECT_EQ(kernels_->copy(ctx_, pinned, device_side, 256, gpu, &error_), ESP_OK);
  device_->drain();  // the next copy, on another stream, reads what this one wrote
  EXPECT_EQ(kernels_->copy(ctx_, device_side, pinned, 256, cpu, &error_), ESP_OK);
  device_->drain();

  EXPECT_EQ(kernels_->zero(ctx_, pinned, 256, gpu, &error_), ESP_E_INVALID);
  EXPECT_TRUE(says("ESP_PINNED")) << error_.message;
  EXPECT_EQ(kernels_->zero(ctx_, device_side, 256, cpu, &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->zero(ctx_, device_side, 257, gpu, &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->zero(ctx_, on_stack, 4, gpu, &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->zero(ctx_, nullptr, 4, gpu, &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->zero(ctx_, nullptr, 0, gpu, &error_), ESP_OK);
  EXPECT_EQ(kernels_->copy(ctx_, device_side, device_side + 1, 8, gpu, &error_), ESP_E_INVALID);
  EXPECT_TRUE(says("overlap")) << error_.message;
  const auto* odd = reinterpret_cast<const char*>(device_side) + 2;
  EXPECT_EQ(kernels_->sum_sq(ctx_, odd, 1, ESP_F32, device_side, gpu, &error_), ESP_E_INVALID);
  EXPECT_TRUE(says("aligned")) << error_.message;
  EXPECT_EQ(kernels_->zero(ctx_, device_side, 4, reinterpret_cast<esp_stream>(on_stack), &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->convert(ctx_, device_side, ESP_F32, device_side, ESP_I64, 1, gpu, &error_), ESP_E_UNSUPPORTED);
  EXPECT_EQ(comm_->all_reduce(ctx_, nullptr, device_side, device_side, 4, ESP_F32, ESP_SUM, gpu, &error_),
            ESP_E_INVALID);
  device_->drain();
}

TEST_F(Services, RefuseToWriteIntoForeignMemory) {
  auto foreign = array<float>({1, 2, 3, 4});
  float* own = floats(4);
  EXPECT_EQ(kernels_->copy(ctx_, own, foreign.data(), 16, compute_handle(), &error_), ESP_OK);
  EXPECT_EQ(kernels_->zero(ctx_, foreign.data(), 16, compute_handle(), &error_), ESP_E_INVALID);
  EXPECT_TRUE(says("belongs to test")) << error_.message;
  sync();
  EXPECT_EQ(own[3], 4.0f);
}

TEST_F(Services, LimitDeviceMemoryToTheBudget) {
  open({.budget_device = 1024});
  void* out = nullptr;
  EXPECT_EQ(memory_->alloc(ctx_, ESP_DEVICE, 1025, ESP_TAG_GRAD, 0, &out, &error_), ESP_E_DEVICE_MEMORY);
  EXPECT_TRUE(says("1024")) << error_.message;
  EXPECT_EQ(memory_->alloc(ctx_, ESP_DEVICE, 1024, ESP_TAG_GRAD, ESP_MEM_COMM, &out, &error_), ESP_OK);
  EXPECT_EQ(memory_->alloc(ctx_, ESP_PINNED, 99999, ESP_TAG_GRAD, 0, &out, &error_), ESP_OK);
  EXPECT_EQ(memory_->alloc(ctx_, 3, 16, ESP_TAG_GRAD, 0, &out, &error_), ESP_E_INVALID);
  EXPECT_EQ(memory_->alloc(ctx_, ESP_DEVICE, 16, 16, 0, &out, &error_), ESP_E_INVALID);
  EXPECT_EQ(memory_->alloc(ctx_, ESP_PINNED, 16, 0, 0x10000u, &out, &error_), ESP_E_UNSUPPORTED);
}

TEST_F(Services, CopyTheArgumentOfACallAlignedToSixteen) {
  struct alignas(16) Job {
    std::atomic<int>* sum;
    int add;
  };
  std::atomic<int> sum{0};
  Gate gate;
  device_->enqueue(compute(), [&] { gate.pass(); });
  Job job{&sum, 3};
  const auto run = [](void* arg) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arg) % 16, 0u);
    auto* mine = static_cast<Job*>(arg);
    *mine->sum += mine->add;
  };
  ASSERT_EQ(device_table_->call(ctx_, compute_handle(), run, &job, sizeof(job), &error_), ESP_OK);
  job.add = 100;  // too late to matter
  gate.open();
  sync();
  EXPECT_EQ(sum.load(), 3);
}

TEST_F(Services, FreeMemoryStreamsAndEventsWithTheInstance) {
  const uint64_t before = device_->memory().usage().device_current;
  floats(100000);
  stream(ESP_STREAM_CPU);
  event();
  services_.reset();
  EXPECT_EQ(device_->memory().usage().device_current, before);
  EXPECT_EQ(device_->create_stream(ESP_STREAM_CPU, 0, "next")->index(), 1u);
}

TEST_F(Services, FillNoMoreOfAnErrorThanItsOwnerHas) {
  esp_error small = fresh();
  std::memset(&small, 0x55, sizeof(small));
  small.struct_size = ESP_UPTO(esp_error, code);
  EXPECT_EQ(kernels_->zero(ctx_, nullptr, 4, compute_handle(), &small), ESP_E_INVALID);
  EXPECT_EQ(small.code, ESP_E_INVALID);
  EXPECT_EQ(small.where[0], 0x55);
  EXPECT_EQ(small.message[0], 0x55);
}

TEST_F(Services, UpdateIsThereOncePlanHasReturned) {
  EXPECT_EQ(update_->desc(ctx_), nullptr);
  EXPECT_EQ(update_->norm_finish(ctx_, nullptr, compute_handle(), &error_), ESP_E_STATE);
  UpdateConfig config;
  config.weight_decay = {0};
  config.params = {{4, 0, true}};
  UpdateService update(*device_, config);
  services_->attach_update(&update);
  ASSERT_NE(update_->desc(ctx_), nullptr);
  EXPECT_EQ(update_->desc(ctx_)->n_slots, 2u);

  float* master = floats(4);
  float* grad = floats(4);
  void* slots[2] = {floats(4), floats(4)};
  float* pinned = floats(4, ESP_PINNED);
  update.begin_step(0, std::vector<double>{0.1}, 1);
  services_->fork(StepKind::kTrain);
  EXPECT_EQ(update_->norm_add(ctx_, grad, 4, ESP_F32, compute_handle(), &error_), ESP_OK);
  EXPECT_EQ(update_->norm_finish(ctx_, nullptr, compute_handle(), &error_), ESP_OK);
  esp_range range{ESP_UPTO(esp_range, out_t), 0, 0, 4, master, slots, grad, nullptr, ESP_F32, ESP_F32};
  const esp_range* list[] = {&range};
  EXPECT_EQ(update_->apply(ctx_, list, 1, compute_handle(), &error_), ESP_OK) << error_.message;
  range.master = pinned;
  EXPECT_EQ(update_->apply(ctx_, list, 1, compute_handle(), &error_), ESP_E_INVALID);
  EXPECT_TRUE(says("master")) << error_.message;
  range.master = master;
  range.struct_size = 8;
  EXPECT_EQ(update_->apply(ctx_, list, 1, compute_handle(), &error_), ESP_E_ABI);
  services_->join();
  update.end_step();
  EXPECT_EQ(update.result(0).applied_steps, 1u);
}

TEST_F(Services, ScalarsOfTheUpdateCanBeReadButNotWritten) {
  UpdateConfig config;
  config.weight_decay = {0};
  config.params = {{4, 0, true}};
  UpdateService update(*device_, config);
  services_->attach_update(&update);
  float* own = floats(2);
  auto* norm = const_cast<float*>(update_->scalars(ctx_)->grad_norm);
  float* const regs[] = {own, norm};
  const esp_sop read{ESP_SOP_SET, 0, 1, 0, 0}, write{ESP_SOP_SET, 1, 0, 0, 0}, unknown{77, 0, 0, 0, 0};
  EXPECT_EQ(kernels_->scalars(ctx_, &read, 1, regs, 2, compute_handle(), &error_), ESP_OK);
  EXPECT_EQ(kernels_->scalars(ctx_, &write, 1, regs, 2, compute_handle(), &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->scalars(ctx_, &unknown, 1, regs, 2, compute_handle(), &error_), ESP_E_INVALID);
  EXPECT_EQ(kernels_->scalars(ctx_, &read, 1, regs, 1, compute_handle(), &error_), ESP_E_INVALID);
  services_->attach_update(nullptr);
}

TEST_F(Services, OneRankReducesAndGathersByCopying) {
  float* in = floats(4);
  float* out = floats(4);
  for (int i = 0; i < 4; ++i) in[i] = static_cast<float>(i + 1);
  esp_comm all = nullptr, self_only = nullptr;
  int32_t rank = -1, size = -1;
  ASSERT_EQ(comm_->data(ctx_, &all, &rank, &size), ESP_OK);
  EXPECT_EQ(rank, 0);
  EXPECT_EQ(size, 1);
  const int32_t self = 0, nobody = 1;
  ASSERT_EQ(comm_->subset(ctx_, all, &self, 1, &self_only, &error_), ESP_OK);
  EXPECT_EQ(comm_->subset(ctx_, all, &nobody, 1, &self_only, &error_), ESP_E_INVALID);
  EXPECT_EQ(comm_->all_reduce(ctx_, all, in, out, 4, ESP_F32, ESP_AVG, compute_handle(), &error_), ESP_OK);
  EXPECT_EQ(comm_->all_reduce(ctx_, all, in, in, 4, ESP_F32, ESP_SUM, compute_handle(), &error_), ESP_OK);
  EXPECT_EQ(comm_->all_reduce(ctx_, all, in, out, 4, ESP_F32, 9, compute_handle(), &error_), ESP_E_INVALID);
  sync();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(out[i], in[i]);
  EXPECT_EQ(world_.data->counters().all_reduce.calls, 2u);
  EXPECT_EQ(world_.data->counters().all_reduce.bytes, 32u);
}

}  // namespace
}  // namespace esp::runtime::test
