#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/dropout.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/stage.h"
#include "model/transform.h"

namespace reprise {

// The parts of a sub-block; the parameters belong to the table.
struct SubBlockParts {
  bool norm_first = true;
  Norm norm;
  std::vector<Linear> projections;  // their outputs, side by side, feed the transform
  std::unique_ptr<Transform> transform;
  Linear output;
  Dropout dropout;
};

// One residual sub-block, attention or feed-forward, of every family:
//   norm first:  y = x + dropout(output(transform(projections(norm(x)))))
//   norm last:   y = norm(x + dropout(output(transform(projections(x)))))
// Forward and backward are written by hand. The backward computes again, by the same calls on the same shapes, what the
// save level did not keep; hence all levels and replays give the same bits. Kept elements per level: docs/planner.md.
class SubBlock final : public Stage {
 public:
  SubBlock(std::string stage_name, int stage_layer, SubBlockParts parts)
      : Stage(std::move(stage_name), stage_layer, /*can_recompute=*/true), parts_(std::move(parts)) {}

  torch::Tensor forward(torch::Tensor input, const StageContext& context) override;

 private:
  // Undefined members are computed again by the backward.
  struct Kept {
    torch::Tensor input;  // (B, T, C)
    Normed normed;        // norm first: of the input; norm last: of the sum, statistics only
    std::vector<torch::Tensor> projected;
    Transformed transformed;
    torch::Tensor sum;  // (B, T, C) norm last only: without it the backward needs the output product
  };

  torch::Tensor compute(const torch::Tensor& input, const StageContext& context, bool has_graph, Kept& kept) const;
  torch::Tensor gradient(const torch::Tensor& grad, const StageContext& context, Kept kept) const;
  torch::Tensor transformed_gradient(const torch::Tensor& grad_sum, const StageContext& context, Kept& kept) const;
  torch::Tensor projections_gradient(std::vector<torch::Tensor> pieces, const torch::Tensor& x) const;
  std::vector<torch::Tensor> project(const torch::Tensor& x) const;
  const torch::Tensor& projections_input(Kept& kept) const;

  const SubBlockParts parts_;
};

}  // namespace reprise
