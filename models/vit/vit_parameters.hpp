// The parameters of a ViT: names and shapes as in transformers, and which unit of the chain reads them. The order is
// that of transformers but for query, key and value, whose weights stand together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vit_config.hpp"

namespace esp::vit {

// How a parameter starts when there are no weights for it.
enum class Start { kNormal, kZeros, kOnes };

struct ViTParameter {
  std::string name;  // e.g. "vit.encoder.layer.0.attention.attention.query.weight"
  std::vector<int64_t> shape;
  Start start = Start::kNormal;

  uint64_t numel() const;
};

// One linear layer or norm: ids of its parameters. kNone: it has no bias.
inline constexpr uint32_t kNone = 0xffffffffu;
struct Affine {
  uint32_t weight = kNone;
  uint32_t bias = kNone;
};

struct EmbeddingIds {
  uint32_t cls = kNone;       // [1, 1, hidden]
  uint32_t position = kNone;  // [1, tokens, hidden]
  Affine projection;          // [hidden, 3, patch, patch]
};

struct BlockIds {
  Affine norm_before, query, key, value, attention_out, norm_after, mlp_in, mlp_out;
};

struct HeadIds {
  Affine norm, classifier;
};

// Unit 0 is the embedding, unit 1 + i is block i, the last one is the head (final norm and classifier).
class ViTParameters {
 public:
  explicit ViTParameters(const ViTConfig& config);

  const std::vector<ViTParameter>& all() const { return all_; }
  uint32_t n_units() const { return static_cast<uint32_t>(blocks_.size()) + 2; }
  // Ids [first, second) of the parameters of a unit: they stand together.
  std::pair<uint32_t, uint32_t> of_unit(uint32_t unit) const;
  std::string unit_name(uint32_t unit) const;  // "embedding", "block.0", ..., "head"

  const EmbeddingIds& embedding() const { return embedding_; }
  const BlockIds& block(uint32_t i) const { return blocks_[i]; }
  const HeadIds& head() const { return head_; }

 private:
  uint32_t add(std::string name, std::vector<int64_t> shape, Start start);
  Affine add_linear(const std::string& name, std::vector<int64_t> weight_shape, bool has_bias = true);
  Affine add_norm(const std::string& name, int64_t size);
  void add_block(const ViTConfig& config, int64_t layer);

  std::vector<ViTParameter> all_;
  std::vector<uint32_t> unit_begin_;  // [n_units + 1]
  EmbeddingIds embedding_;
  std::vector<BlockIds> blocks_;
  HeadIds head_;
};

}  // namespace esp::vit
