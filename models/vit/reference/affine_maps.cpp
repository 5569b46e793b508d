// The affine maps of the reference executor, with a backward that writes the gradients of parameters where the strategy
// wants them and holds activations no longer than it needs them.
#include "products.hpp"
#include "reference_executor.hpp"

namespace esp::vit {
namespace {

using Tensors = ExplicitBackward::Tensors;

at::Tensor as_rows(const at::Tensor& x) { return x.dim() == 2 ? x : x.flatten(0, -2); }

at::Tensor product(const at::Tensor& rows, const at::Tensor& weight, at::IntArrayRef shape) {
  at::Tensor out = at::empty({rows.size(0), weight.size(1)}, rows.options());
  multiply_into(out, rows, weight);
  return out.view(shape);
}

}  // namespace

// The parameters, one after another: as they lie where they are neighbours, else copied together.
at::Tensor ReferenceExecutor::joined(const std::vector<uint32_t>& ids) const {
  const at::Tensor& first = parameter(ids.front());
  if (ids.size() == 1) return first.view({-1});
  const char* end = static_cast<const char*>(first.data_ptr());
  bool together = true;
  std::vector<at::Tensor> parts;
  int64_t numel = 0;
  for (const uint32_t id : ids) {
    parts.push_back(parameter(id).view({-1}));
    together = together && parts.back().data_ptr() == end;
    end += parts.back().nbytes();
    numel += parts.back().numel();
  }
  if (!together) return at::cat(parts);
  return at::for_blob(first.data_ptr(), {numel}).options(first.options()).target_device(device()).make_tensor();
}

// Gradients of parameters that follow each other, made by one `write` into memory for all of them: where the strategy
// wants them if it can be done at once, else into memory of their own, and `of` takes what autograd has to carry on.
// input: which of the node's inputs the first parameter is.
void ReferenceExecutor::give_gradients(const ExplicitBackward& node, size_t input, const std::vector<uint32_t>& ids,
                                       Tensors& of, const std::function<void(at::Tensor)>& write) {
  size_t wanted = 0;
  int64_t numel = 0;
  for (size_t k = 0; k < ids.size(); ++k) {
    wanted += node.wants(input + k) ? 1 : 0;
    numel += parameter(ids[k]).numel();
  }
  if (wanted == 0) return;
  const at::Tensor bound = wanted == ids.size() ? take_gradients(ids) : at::Tensor();
  if (bound.defined()) return write(bound);
  const at::Tensor fresh = at::empty({numel}, parameter(ids.front()).options());
  write(fresh);
  int64_t begin = 0;
  for (size_t k = 0; k < ids.size(); ++k) {
    const at::Tensor& like = parameter(ids[k]);
    if (node.wants(input + k)) of[input + k] = fresh.narrow(0, begin, like.numel()).view_as(like);
    begin += like.numel();
  }
}

// Of the parameters of maps that read the same rows x [M, in], out of the gradient of their joint output [M, out].
void ReferenceExecutor::give_map_gradients(const ExplicitBackward& node, size_t input, const MapIds& maps, Tensors& of,
                                           const at::Tensor& gradient, const at::Tensor& x) {
  give_gradients(node, input, maps.weights, of, [&](const at::Tensor& out) {
    multiply_into(out.view({gradient.size(1), x.size(1)}), gradient.t(), x);
  });
  if (maps.biases.empty()) return;
  give_gradients(node, input + maps.weights.size(), maps.biases, of,
                 [&](const at::Tensor& out) { sum_rows_into(out, gradient); });
}

ReferenceExecutor::MapIds ReferenceExecutor::ids_of(std::initializer_list<Affine> maps) {
  MapIds ids;
  for (const Affine& map : maps) {
    ids.weights.push_back(map.weight);
    if (map.bias != kNone) ids.biases.push_back(map.bias);
  }
  return ids;
}

// x, then the parameters: what autograd has to know as inputs.
Tensors ReferenceExecutor::with_parameters(Tensors inputs, const MapIds& ids) const {
  for (const uint32_t id : ids.weights) inputs.push_back(parameter(id));
  for (const uint32_t id : ids.biases) inputs.push_back(parameter(id));
  return inputs;
}

at::Tensor ReferenceExecutor::matrix(const MapIds& ids, int64_t columns) const {
  return joined(ids.weights).view({-1, columns});
}

// [..., in] to [..., out]; out: of all maps, side by side.
at::Tensor ReferenceExecutor::affine(const MapIds& ids, const at::Tensor& x) const {
  return linear_product(x, matrix(ids, x.size(-1)), ids.biases.empty() ? at::Tensor() : joined(ids.biases));
}

at::Tensor ReferenceExecutor::linear(const Affine& map, const at::Tensor& x) { return maps(ids_of({map}), x).front(); }

// Each [B, T, H].
std::vector<at::Tensor> ReferenceExecutor::query_key_value(const BlockIds& block, const at::Tensor& x) {
  return maps(ids_of({block.query, block.key, block.value}), x);
}

// The outputs of maps of equal width, by one product.
std::vector<at::Tensor> ReferenceExecutor::maps(const MapIds& ids, const at::Tensor& x) {
  const bool single = ids.weights.size() == 1;
  std::vector<at::Tensor> out;
  {
    const BelowAutograd guard;
    out = {affine(ids, x)};
    if (!single) out = out[0].chunk(static_cast<int64_t>(ids.weights.size()), -1);
  }
  set_backward(out, with_parameters({x}, ids), [this, ids, x, single](const ExplicitBackward& node, Tensors gradients) {
    Tensors of(1 + ids.weights.size() + ids.biases.size());
    const at::Tensor rows = as_rows(single ? gradients[0] : at::cat(gradients, -1));
    gradients.clear();
    give_map_gradients(node, 1, ids, of, rows, as_rows(x));
    if (node.wants(0)) of[0] = product(rows, matrix(ids, x.size(-1)), x.sizes());
    return of;
  });
  return out;
}

// Both linear layers, GELU between them, and what is added to their output. Backward holds no more than two tensors of
// the inner size at a time.
at::Tensor ReferenceExecutor::mlp(const BlockIds& block, const at::Tensor& x, const at::Tensor& residual) {
  const MapIds in = ids_of({block.mlp_in}), out_of = ids_of({block.mlp_out});
  at::Tensor inner, active, out;
  {
    const BelowAutograd guard;
    inner = affine(in, x);
    active = at::gelu(inner);
    // Nobody reads the output when the block runs again for its backward.
    out = runs_again() ? at::empty({1}, x.options()).expand_as(x) : affine(out_of, active).add_(residual);
  }
  const auto backward = [this, in, out_of, x, inner, active](const ExplicitBackward& node, Tensors gradients) mutable {
    const size_t of_in = 2, of_out = of_in + in.weights.size() + in.biases.size();
    Tensors of(of_out + out_of.weights.size() + out_of.biases.size());
    const at::Tensor after = as_rows(gradients[0]);
    give_map_gradients(node, of_out, out_of, of, after, as_rows(active));
    active.reset();
    at::Tensor rows = product(after, matrix(out_of, inner.size(-1)), {after.size(0), inner.size(-1)});
    at::gelu_backward_out(rows, rows, as_rows(inner));
    inner.reset();
    give_map_gradients(node, of_in, in, of, rows, as_rows(x));
    if (node.wants(0)) of[0] = product(rows, matrix(in, x.size(-1)), x.sizes());
    if (node.wants(1)) of[1] = gradients[0];
    return of;
  };
  set_backward({out}, with_parameters(with_parameters({x, residual}, in), out_of), backward);
  return out;
}

}  // namespace esp::vit
