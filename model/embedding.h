#pragma once

#include "model/dropout.h"
#include "model/parameter.h"
#include "model/stage.h"

namespace reprise {

// Stage 0: token rows plus learned position rows (none for llama), then dropout. (B, T) int64 → (B, T, C). Keeps the
// tokens at every save level. Without a token table, for a regression: hands real input (B, T, C) on as it is. Throws
// std::invalid_argument when the sequences are longer than the context.
class Embedding final : public Stage {
 public:
  Embedding(Parameter* token, Parameter* position, int64_t context, double dropout)
      : Stage("embedding", -1, /*can_recompute=*/false),
        token_(token),
        position_(position),
        context_(context),
        dropout_{dropout, DropoutSite::embedding} {}

  torch::Tensor forward(torch::Tensor tokens, const StageContext& context) override;

 private:
  void add_gradients(const torch::Tensor& grad, const torch::Tensor& tokens, const StageContext& context) const;

  Parameter* const token_;     // (V, C)
  Parameter* const position_;  // (context, C), may be null
  const int64_t context_;
  const Dropout dropout_;
};

}  // namespace reprise
