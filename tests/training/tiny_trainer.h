#pragma once

#include <memory>

#include "checkpointing/policies.h"
#include "tests/training/shards.h"
#include "training/trainer.h"

namespace reprise {

// A rank of the smallest training that has everything: an embedding, layers, a head, micro-batches; a step takes well
// under a millisecond. `policy`: which layers recompute.
class TinyTrainer {
 public:
  static ModelConfig config() {
    return ModelConfig{
        .family = Family::gpt2, .layers = 2, .width = 8, .heads = 2, .context = 4, .dropout = 0.1, .vocabulary = 16}
        .resolved();
  }
  static TrainerSetting setting(int ranks) {
    return {.steps = 1000, .global_sequences = 2 * ranks, .micro_sequences = 1, .optimizer = {.warmup_steps = 1}};
  }

  explicit TinyTrainer(Communicator& communicator, const std::string& policy = "none")
      : TinyTrainer(communicator, setting(communicator.size()), policy) {}
  TinyTrainer(Communicator& communicator, const TrainerSetting& setting, const std::string& policy = "none")
      : model(config()), flat(model, true), shards(write_shards(), "train") {
    flat.initialize(model, setting.seed);
    trainer = std::make_unique<Trainer>(model, flat, plan_of({.policy = policy}, shapes_of(model)), communicator,
                                        shards, setting);
  }

  // As a run does it.
  StepReport step() {
    const StepReport report = trainer->step();
    trainer->require_sound(report);
    return report;
  }

  Scratch scratch;
  StageChain model;
  FlatModel flat;
  TokenShards shards;
  std::unique_ptr<Trainer> trainer;

 private:
  std::string write_shards() const {
    std::vector<uint16_t> tokens = counting(0, 400);
    for (uint16_t& token : tokens) token = static_cast<uint16_t>(token * token / 3 % 16);
    put_shard(scratch / "train_000000.bin", tokens);
    return scratch.path();
  }
};

// One bit of one element of a flat fp32 tensor, on this rank alone.
inline void flip_bit(const torch::Tensor& flat, int64_t element, int bit) {
  flat.view(torch::kInt32).mutable_data_ptr<int32_t>()[element] ^= 1 << bit;
}

}  // namespace reprise
