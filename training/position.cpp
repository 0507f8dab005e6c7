#include "training/position.h"

#include <fmt/format.h>

#include <array>

namespace reprise {
namespace {

constexpr std::array kNames{"between two stages", "forward",   "recompute", "backward",   "data",
                            "gradient sums",      "optimizer", "report",    "evaluation", "save"};

}  // namespace

const char* name_of(Phase phase) { return kNames.at(static_cast<size_t>(phase)); }

uint64_t position(int64_t step, Phase phase, int stage) {
  return static_cast<uint64_t>(step) << 24 | static_cast<uint64_t>(phase) << 16 | static_cast<uint16_t>(stage);
}

std::string describe_position(uint64_t position, const StageChain& model) {
  if (position == 0) return "start";
  const auto phase = static_cast<Phase>(position >> 16 & 0xff);
  const bool is_of_stage = phase >= Phase::forward && phase <= Phase::backward;
  const auto stage = static_cast<int>(position & 0xffff);
  if (phase > Phase::save || (is_of_stage && stage >= model.size())) return "a place unknown here";
  return fmt::format("step {}, {}{}", (position >> 24) + 1, name_of(phase),
                     is_of_stage ? " of " + model[stage].name : "");
}

}  // namespace reprise
