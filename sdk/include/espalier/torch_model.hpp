// A model whose units are functions of LibTorch tensors: the author writes forward and loss, this class does the rest
// of esp_model_v1's contract. Binds that move memory under what autograd saved, one graph per unit, recomputation,
// gradients into bound buffers, several micro-batches in flight, bytes in use.
//
//   class MyModel : public esp::TorchModel {
//     at::Tensor forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) override;
//     at::Tensor loss_gradient(const esp_step& step, const at::Tensor& output, const Inputs& inputs) override;
//   };
//
// Runs on CPU and CUDA devices; all work goes to LibTorch's current stream. Needs exactly the LibTorch it was built
// with (espalier_add_plugin(... TORCH exact)). Include it in few source files: it brings ATen and autograd along.
#ifndef ESPALIER_TORCH_MODEL_HPP
#define ESPALIER_TORCH_MODEL_HPP

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/AutogradState.h>
#include <c10/core/GradMode.h>
#include <c10/core/StorageImpl.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <espalier/model.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <atomic>
#include <espalier/failure.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

inline at::ScalarType torch_dtype(esp_dtype dtype) {
  switch (dtype) {
    case ESP_F32:
      return at::kFloat;
    case ESP_F16:
      return at::kHalf;
    case ESP_BF16:
      return at::kBFloat16;
    case ESP_F64:
      return at::kDouble;
    case ESP_U8:
      return at::kByte;
    case ESP_I32:
      return at::kInt;
    case ESP_I64:
      return at::kLong;
    default:
      fail(ESP_E_UNSUPPORTED, "LibTorch has no tensor of dtype ", dtype);
  }
}

inline at::Device torch_device(int32_t kind, int32_t index) {
  return kind == ESP_CUDA ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)) : at::Device(at::kCPU);
}

// A tensor over memory of somebody else, with a storage of its own: moving that storage moves the tensor and everything
// that aliases it, views and what autograd saved included.
class BorrowedTensor {
 public:
  // Shows `data` from now on; NULL: nothing.
  void move_to(void* data, esp_dtype dtype, at::IntArrayRef shape, at::Device device) {
    data_ = data;
    const at::ScalarType type = torch_dtype(dtype);
    if (tensor_.defined() && tensor_.scalar_type() == type) {
      tensor_.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(c10::DataPtr(data, device));
    } else if (data != nullptr) {
      tensor_ = at::from_blob(data, shape, at::TensorOptions().dtype(type).device(device));
    }
  }

  bool bound() const { return data_ != nullptr; }
  const at::Tensor& tensor() const { return tensor_; }

 private:
  void* data_ = nullptr;
  at::Tensor tensor_;
};

// A gradient's buffer and when it is overwritten instead of added to; see esp_bind.
class BoundGradient {
 public:
  void bind(const esp_bind& bind, at::IntArrayRef shape, at::Device device) {
    memory_.move_to(bind.data, bind.dtype, shape, device);
    mode_ = bind.mode;
    fresh_ = true;
  }

  bool bound() const { return memory_.bound(); }

  // Whether the next write overwrites. pass: a number that differs from pass to pass.
  bool overwrites(uint64_t pass) const { return fresh_ || (mode_ == ESP_WRITE_EACH_PASS && pass != pass_); }

  // Notes a write and says whether it overwrites.
  bool write_overwrites(uint64_t pass) {
    const bool first = overwrites(pass);
    fresh_ = false;
    pass_ = pass;
    return first;
  }
  const at::Tensor& tensor() const { return memory_.tensor(); }

 private:
  BorrowedTensor memory_;
  uint32_t mode_ = ESP_WRITE_EACH_PASS;
  bool fresh_ = true;
  uint64_t pass_ = 0;
};

// While it lives, backward runs on the calling thread alone. Autograd's thread for a GPU would have a handle of cuBLAS
// and a workspace of its own, and cost a change of threads for each unit.
class BackwardOnThisThread {
 public:
  BackwardOnThisThread() { state().set_multithreading_enabled(false); }
  ~BackwardOnThisThread() { state().set_multithreading_enabled(before_); }
  BackwardOnThisThread(const BackwardOnThisThread&) = delete;
  BackwardOnThisThread& operator=(const BackwardOnThisThread&) = delete;

 private:
  static c10::AutogradState& state() { return c10::AutogradState::get_tls_state(); }

  const bool before_ = state().get_multithreading_enabled();
};

// Counts what LibTorch allocates while a model function runs, on whatever thread of its own.
class AllocationMeter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, at::Device) override {
    const int64_t now = live_.fetch_add(bytes) + bytes;
    int64_t peak = peak_.load();
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }

  // Between two units: what lives now is kept from forward to backward.
  void mark() { kept_ = std::max(kept_, live_.load()); }

  uint64_t kept() const { return static_cast<uint64_t>(kept_); }
  uint64_t peak() const { return static_cast<uint64_t>(peak_.load()); }

 private:
  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
  int64_t kept_ = 0;
};

class TorchModel {
 public:
  using Inputs = std::vector<at::Tensor>;  // as esp_model_desc.inputs, [rows, ...] each

  // desc lives as long as this.
  TorchModel(const esp_model_desc& desc, at::Device device)
      : desc_(desc), device_(device), params_(desc.n_params), grads_(desc.n_params), open_(desc.n_params) {}
  virtual ~TorchModel() = default;
  TorchModel(const TorchModel&) = delete;
  TorchModel& operator=(const TorchModel&) = delete;

  // The functions of esp_model_v1.
  void prepare(const esp_model_run& run) {
    run_ = run;
    trainable_.assign(desc_.n_params, true);
    for (uint32_t i = 0; i < desc_.n_params; ++i) {
      trainable_[i] =
          run.mode == ESP_MODE_TRAIN &&
          (run.trainable == nullptr ? (desc_.params[i]->flags & ESP_PARAM_TRAINABLE) != 0 : run.trainable[i] != 0);
    }
    first_trainable_ = first_trainable_unit(desc_, trainable_);
    if (device_.is_cuda()) {
      const bool tf32 = run.precision == ESP_PRECISION_TF32;
      at::globalContext().setFloat32MatmulPrecision(tf32 ? "high" : "highest");
      at::globalContext().setAllowTF32CuDNN(tf32);
    }
    micros_.assign(std::max(run.n_micro, 1u), Micro(desc_.n_units));
    evaluation_ = Micro(desc_.n_units);
  }

  void bind(Slice<const esp_bind> binds) {
    for (const esp_bind& bind : binds) {
      if (bind.param >= desc_.n_params) fail(ESP_E_INVALID, "bind of parameter ", bind.param, ", which does not exist");
      const at::IntArrayRef shape(desc_.params[bind.param]->shape, desc_.params[bind.param]->ndim);
      if (bind.what == ESP_BIND_GRAD) {
        grads_[bind.param].bind(bind, shape, device_);
      } else {
        bind_parameter(bind, shape);
      }
    }
  }

  void begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs) {
    const c10::DebugInfoGuard metered(c10::DebugInfoKind::PROFILER_STATE, meter_);
    Micro& micro = micro_of(step);
    micro = Micro(desc_.n_units);
    for (const esp_tensor* input : inputs) {
      micro.inputs.push_back(at::from_blob(input->data, at::IntArrayRef(input->shape, input->ndim),
                                           at::TensorOptions().dtype(torch_dtype(input->dtype)).device(device_)));
    }
    const bool training = (step.flags & ESP_STEP_EVAL) == 0;
    if (training && (step.pos == 0 || step.index != index_ || step.pass != pass_)) {
      ++pass_serial_;
      index_ = step.index;
      pass_ = step.pass;
    }
  }

  void forward_unit(const esp_step& step, uint32_t unit) {
    const c10::DebugInfoGuard metered(c10::DebugInfoKind::PROFILER_STATE, meter_);
    check_bound(unit);
    Micro& micro = micro_of(step);
    const bool keeps = (step.flags & ESP_STEP_EVAL) == 0 && unit >= first_trainable_;
    at::Tensor input = micro.flow.defined() ? micro.flow.detach() : at::Tensor();
    if (keeps && input.defined()) input.set_requires_grad(unit > first_trainable_);
    const bool graph = keeps && !recomputes(run_.recompute, unit);
    runs_again_ = false;
    {
      const at::AutoGradMode mode(graph);
      micro.flow = forward(unit, input, micro.inputs);
    }
    if (keeps) micro.units[unit] = {input, graph ? micro.flow : at::Tensor()};
    meter_->mark();
  }

  void loss(const esp_step& step) {
    const c10::DebugInfoGuard metered(c10::DebugInfoKind::PROFILER_STATE, meter_);
    const at::NoGradGuard no_grad;
    Micro& micro = micro_of(step);
    micro.flow = loss_gradient(step, micro.flow.detach(), micro.inputs);
    if ((step.flags & ESP_STEP_EVAL) != 0) micro = Micro(desc_.n_units);
  }

  void backward_unit(const esp_step& step, uint32_t unit) {
    if (unit < first_trainable_) return;
    const c10::DebugInfoGuard metered(c10::DebugInfoKind::PROFILER_STATE, meter_);
    check_bound(unit);
    Micro& micro = micro_of(step);
    Saved saved = std::exchange(micro.units[unit], Saved());
    std::vector<uint32_t> wanted;  // parameters
    for (uint32_t i = 0; i < desc_.units[unit]->n_uses; ++i) {
      const uint32_t id = desc_.units[unit]->uses[i];
      if (trainable_[id] && grads_[id].bound()) wanted.push_back(id);
    }
    open_.assign(desc_.n_params, false);
    for (const uint32_t id : wanted) open_[id] = true;
    const at::Tensor flow = std::exchange(micro.flow, at::Tensor());
    std::vector<at::Tensor> gradients = gradients_of(unit, saved, micro.inputs, wanted, flow);
    write_gradients(wanted, gradients);
    open_.assign(desc_.n_params, false);
    if (unit > first_trainable_) {
      micro.flow = gradients.back().defined() ? std::move(gradients.back()) : at::zeros_like(saved.input);
    } else {
      micro = Micro(desc_.n_units);  // nothing below is trained: the micro-batch is done
    }
  }

  void memory_stats(uint64_t* by_tag) const {
    std::fill(by_tag, by_tag + ESP_N_TAGS, uint64_t{0});
    by_tag[ESP_TAG_ACTIVATION] = meter_->kept();
    by_tag[ESP_TAG_WORKSPACE] = meter_->peak() - meter_->kept();
  }

  // The lowest unit that reads a trainable parameter; n_units when there is none. No backward runs below it.
  static uint32_t first_trainable_unit(const esp_model_desc& desc, const std::vector<bool>& trainable) {
    for (uint32_t unit = 0; unit < desc.n_units; ++unit) {
      for (uint32_t i = 0; i < desc.units[unit]->n_uses; ++i) {
        if (trainable[desc.units[unit]->uses[i]]) return unit;
      }
    }
    return desc.n_units;
  }

 protected:
  // Output of a unit. input: the output of the unit before; undefined for unit 0. Reads parameters by parameter(), only
  // those that the unit lists, and saves nothing anywhere: it may run again in backward.
  virtual at::Tensor forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) = 0;
  // Adds to the run's metrics and returns the gradient of the last unit's output, scaled by *loss_seed; what it returns
  // in evaluation is ignored. Called without gradient mode.
  virtual at::Tensor loss_gradient(const esp_step& step, const at::Tensor& output, const Inputs& inputs) = 0;
  // Whether a unit runs again in backward instead of keeping its graph, at a level of esp_model_desc.recompute.
  virtual bool recomputes(uint32_t level, uint32_t unit) const { return level != 0; }

  const at::Tensor& parameter(uint32_t id) const { return params_[id].tensor(); }

  // For backward functions that an author writes out: the memory of the gradients of `ids`, one after another, in the
  // dtype of parameters, for the caller to overwrite as a whole in place of returning them. Undefined when they have to
  // be returned, because they are added to what is there, or have another dtype, or are not neighbours.
  at::Tensor take_gradients(const std::vector<uint32_t>& ids) {
    int64_t numel = 0;
    const char* end = nullptr;
    for (const uint32_t id : ids) {
      if (!open_[id] || !grads_[id].overwrites(pass_serial_)) return at::Tensor();
      const at::Tensor& memory = grads_[id].tensor();
      if (memory.scalar_type() != torch_dtype(run_.compute_t)) return at::Tensor();
      if (end != nullptr && memory.data_ptr() != end) return at::Tensor();
      end = static_cast<const char*>(memory.data_ptr()) + memory.nbytes();
      numel += memory.numel();
    }
    for (const uint32_t id : ids) {
      grads_[id].write_overwrites(pass_serial_);
      open_[id] = false;
    }
    const at::Tensor& first = grads_[ids.front()].tensor();
    return at::for_blob(first.data_ptr(), {numel}).options(first.options()).target_device(device_).make_tensor();
  }

  // Whether forward runs for the sake of its graph alone: nobody reads the values of its output.
  bool runs_again() const { return runs_again_; }

  const esp_model_run& run() const { return run_; }
  at::Device device() const { return device_; }

 private:
  struct Saved {
    at::Tensor input;   // detached
    at::Tensor output;  // root of the unit's graph; undefined where it is recomputed
  };
  struct Micro {
    explicit Micro(uint32_t n_units = 0) : units(n_units) {}
    Inputs inputs;
    at::Tensor flow;  // forward: the last unit's output; backward: its gradient
    std::vector<Saved> units;
  };

  Micro& micro_of(const esp_step& step) {
    return (step.flags & ESP_STEP_EVAL) != 0 ? evaluation_ : micros_.at(step.micro);
  }

  void bind_parameter(const esp_bind& bind, at::IntArrayRef shape) {
    if (bind.data != nullptr && bind.dtype != run_.compute_t) {
      fail(ESP_E_INVALID, "parameter ", desc_.params[bind.param]->name, " is bound in another dtype than compute_t");
    }
    BorrowedTensor& parameter = params_[bind.param];
    parameter.move_to(bind.data, run_.compute_t, shape, device_);
    if (parameter.bound()) parameter.tensor().set_requires_grad(trainable_[bind.param]);
  }

  void check_bound(uint32_t unit) const {
    for (uint32_t i = 0; i < desc_.units[unit]->n_uses; ++i) {
      const uint32_t id = desc_.units[unit]->uses[i];
      if (!params_[id].bound() && desc_.params[id]->numel != 0) {
        fail(ESP_E_STATE, "parameter ", desc_.params[id]->name, " is not bound while unit ", desc_.units[unit]->name,
             " runs");
      }
    }
  }

  // Undefined gradients are zeros, but for those that have been taken. One launch each for all that is copied and all
  // that is added.
  void write_gradients(const std::vector<uint32_t>& wanted, const std::vector<at::Tensor>& gradients) {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> overwritten, copied, increased, added;
    for (size_t i = 0; i < wanted.size(); ++i) {
      BoundGradient& bound = grads_[wanted[i]];
      if (!gradients[i].defined() && !open_[wanted[i]]) continue;
      const bool first = bound.write_overwrites(pass_serial_);
      if (!gradients[i].defined()) {
        at::Tensor target = bound.tensor();
        if (first) target.zero_();
        continue;
      }
      (first ? overwritten : increased).push_back(bound.tensor());
      (first ? copied : added).push_back(gradients[i]);
    }
    if (!overwritten.empty()) at::_foreach_copy_(overwritten, copied);
    if (!increased.empty()) at::_foreach_add_(increased, added);
  }

  // Of the wanted parameters, and last of the input where something below is trained. Undefined: nothing flowed.
  std::vector<at::Tensor> gradients_of(uint32_t unit, Saved& saved, const Inputs& inputs,
                                       const std::vector<uint32_t>& wanted, const at::Tensor& flow) {
    std::vector<at::Tensor> leaves;
    leaves.reserve(wanted.size() + 1);
    for (const uint32_t id : wanted) leaves.push_back(params_[id].tensor());
    if (unit > first_trainable_) leaves.push_back(saved.input);
    if (leaves.empty()) return {};
    at::Tensor output = std::move(saved.output);
    if (!output.defined()) {
      const at::AutoGradMode mode(true);
      runs_again_ = true;
      output = forward(unit, saved.input, inputs);
    }
    if (!output.requires_grad()) return std::vector<at::Tensor>(leaves.size());
    const BackwardOnThisThread guard;
    return torch::autograd::grad({output}, leaves, {flow}, /*retain_graph=*/false, /*create_graph=*/false,
                                 /*allow_unused=*/true);
  }

  const esp_model_desc& desc_;
  const at::Device device_;
  esp_model_run run_{};
  std::vector<bool> trainable_;
  uint32_t first_trainable_ = 0;
  std::vector<BorrowedTensor> params_;
  std::vector<BoundGradient> grads_;
  std::vector<bool> open_;  // while a unit's backward runs: gradients that nothing has been written to
  bool runs_again_ = false;
  std::vector<Micro> micros_;
  Micro evaluation_;
  uint64_t pass_serial_ = 0, index_ = 0;
  uint32_t pass_ = 0;
  std::shared_ptr<AllocationMeter> meter_ = std::make_shared<AllocationMeter>();
};

// Cross entropy of a classifier, in fp32 (fp64 for fp64 logits): adds to the run's metrics, writes predictions in
// evaluation, and returns the gradient of the logits, each valid sample's scaled by *loss_seed. Rows at and beyond
// valid[micro] have no effect. Metrics count in the first pass of a step. logits: [rows, classes]; labels: I64 [rows].
inline at::Tensor cross_entropy(const esp_model_run& run, const esp_step& step, const at::Tensor& logits,
                                const at::Tensor& labels) {
  const auto at_address = [&](const void* data, int64_t n, at::ScalarType type) {
    return at::from_blob(const_cast<void*>(data), {n}, at::TensorOptions().dtype(type).device(logits.device()));
  };
  const bool evaluation = (step.flags & ESP_STEP_EVAL) != 0;
  const int64_t rows = logits.size(0);
  const at::ScalarType wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor log_p = at::log_softmax(logits.to(wide), 1);
  const at::Tensor n_valid = at_address(run.valid + (evaluation ? 0 : step.micro), 1, at::kInt);
  const at::Tensor valid = at::arange(rows, n_valid.options()).lt(n_valid);
  const at::Tensor label = labels.masked_fill(valid.logical_not(), 0).unsqueeze(1);
  const at::Tensor best = logits.argmax(1);
  if (step.pass == 0) {
    const at::Tensor losses = log_p.gather(1, label).neg().squeeze(1).masked_fill(valid.logical_not(), 0);
    at_address(run.loss_sum, 1, at::kDouble).add_(losses.sum(at::kDouble));
    at_address(run.correct, 1, at::kLong).add_(best.eq(labels).logical_and(valid).sum());
  }
  if (evaluation) {
    at_address(run.predicted, rows, at::kInt).copy_(best);
    return at::Tensor();
  }
  const at::Tensor seed = at_address(run.loss_seed, 1, at::kFloat).to(wide);
  const at::Tensor of_sample = at::where(valid, seed.neg(), at::zeros_like(seed)).unsqueeze(1);
  const at::Tensor of_log_p = at::zeros_like(log_p).scatter_(1, label, of_sample);
  const at::Tensor gradient = at::_log_softmax_backward_data(of_log_p, log_p, 1, wide);
  return gradient.masked_fill(valid.logical_not().unsqueeze(1), 0).to(logits.scalar_type());
}

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_TORCH_MODEL_HPP
