#include "model/transform.h"

namespace reprise {
namespace {

using torch::Tensor;

class Gelu final : public Transform {
 public:
  Gelu() : Transform(/*needs_projected=*/true, /*needs_output=*/false) {}

  Transformed forward(std::vector<Tensor>& projected, const StageContext&) const override {
    return {at::gelu(projected[0], "tanh"), {}};
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor> projected, Transformed) const override {
    at::gelu_backward_out(grad, grad, projected[0], "tanh");
    return {std::move(grad)};
  }
};

// Its gradient can be read from the output alone, so only that is ever kept, and the projection's bytes become the
// output's.
class Relu final : public Transform {
 public:
  Relu() : Transform(/*needs_projected=*/false, /*needs_output=*/true) {}

  Transformed forward(std::vector<Tensor>& projected, const StageContext&) const override {
    Tensor output = std::move(projected[0]);
    projected.clear();
    return {output.relu_(), {}};
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor>, Transformed transformed) const override {
    at::threshold_backward_out(grad, grad, transformed.output, 0);
    return {std::move(grad)};
  }
};

class SwiGlu final : public Transform {
 public:
  SwiGlu() : Transform(/*needs_projected=*/true, /*needs_output=*/false) {}

  Transformed forward(std::vector<Tensor>& projected, const StageContext&) const override {
    return {at::silu(projected[0]).mul_(projected[1]), {}};
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor> projected, Transformed) const override {
    const Tensor& gate = projected[0];
    Tensor& up = projected[1];
    Tensor grad_gate = at::mul(grad, up);
    at::silu_backward_out(grad_gate, grad_gate, gate);
    at::silu_out(up, gate);  // up is used up: its bytes hold silu(gate)
    return {std::move(grad_gate), grad.mul_(up)};
  }
};

}  // namespace

std::unique_ptr<Transform> make_gelu() { return std::make_unique<Gelu>(); }
std::unique_ptr<Transform> make_relu() { return std::make_unique<Relu>(); }
std::unique_ptr<Transform> make_swiglu() { return std::make_unique<SwiGlu>(); }

}  // namespace reprise
