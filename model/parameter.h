#pragma once

#include <c10/util/accumulate.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace reprise {

// One trainable tensor: its description from the time the model is built, its storage from bind() on.
// Stages hold pointers to it; a tied parameter is one Parameter used by several stages.
struct Parameter {
  std::string name;            // "layer3.attention.qkv.weight"; also the name in files
  std::vector<int64_t> shape;  // linear weights are (out, in)
  double initial = 0.0;        // every element starts as this, or, with a deviation, normal around it
  double deviation = 0.0;
  int64_t live_rows = -1;   // rows from here on are vocabulary padding, always zero; the table makes -1 all
  bool decays = false;      // weight decay applies: matrices only
  bool is_wide = false;     // computes in the type of its master even where the others compute in a narrower one: norms
  bool is_early = false;    // of its stage's output layer: its gradient is final before the rest of that stage's
  std::vector<int> stages;  // that use it, ascending; its gradient is final with the first
  torch::Tensor master;     // what the optimizer updates and files hold; undefined before bind()
  torch::Tensor value;      // the autograd leaf, shape as above: the master itself, or its copy in the compute type

  int64_t numel() const { return c10::multiply_integers(shape); }
  int lowest_stage() const { return stages.front(); }
  int final_point() const { return 2 * lowest_stage() + is_early; }  // of a backward, as the executor counts them
  torch::Tensor& grad() const { return const_cast<torch::Tensor&>(value).mutable_grad(); }
};

// All parameters of a model in a fixed order: by first use, embedding to head. Owns them; addresses stay valid.
class ParameterTable {
 public:
  Parameter* add(Parameter parameter);
  int size() const { return static_cast<int>(entries_.size()); }
  Parameter& operator[](int i) const { return *entries_[static_cast<size_t>(i)]; }
  int64_t count() const;  // trainable elements, padding rows of the vocabulary excluded

  // Gives parameter i the storage masters[i] (same shape) and the gradient view gradients[i], in the manner of
  // `flat.narrow(..).view(..).detach()`, and, where `computed` is not empty, the leaf computed[i] of a narrower type,
  // which somebody keeps equal to the master. A gradient has its master's type. Gradients may be undefined for a model
  // that is only evaluated.
  void bind(const std::vector<torch::Tensor>& masters, const std::vector<torch::Tensor>& gradients,
            const std::vector<torch::Tensor>& computed = {});

  // Writes initial values into the masters: f(seed, parameter name), equal on every rank and for every layout.
  void initialize(uint64_t seed) const;

 private:
  std::vector<std::unique_ptr<Parameter>> entries_;
};

}  // namespace reprise
