#include "checkpointing/plan.h"

#include <fmt/format.h>

#include "model/model_config.h"

namespace reprise {
namespace {

constexpr const char* kLevelNames[] = {"all", "lean", "input"};  // in the order of SaveLevel
constexpr char kLevelMarks[] = {'=', '-', '.'};

[[noreturn]] void refuse(size_t segment, const std::string& expected) {
  throw InvalidSetting("checkpointing.segments", fmt::format("segment {}: expected {}", segment, expected));
}

void check_segments(const std::vector<Segment>& segments, const std::vector<StageShape>& stages) {
  const int count = static_cast<int>(stages.size());
  int next = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto [first, last, recompute] = segments[i];
    if (next == count) refuse(i, fmt::format("no more segments: the {} stages are covered already", count));
    if (first != next) refuse(i, fmt::format("first stage {}, got {}", next, first));
    if (last < first) refuse(i, fmt::format("last stage from {} on, got {}", first, last));
    if (last >= count) refuse(i, fmt::format("last stage up to {}, got {}", count - 1, last));
    if (!recompute && last != first) {
      refuse(i, fmt::format("one stage in a kept segment (last {}), got last {}", first, last));
    }
    for (int s = first; recompute && s <= last; ++s) {
      if (!stages[static_cast<size_t>(s)].recomputable) {
        refuse(i, fmt::format("only recomputable stages, got stage {}, which is always kept", s));
      }
    }
    next = last + 1;
  }
  if (next != count) {
    const std::string got = next == 0 ? "none" : fmt::format("0 to {}", next - 1);
    throw InvalidSetting("checkpointing.segments",
                         fmt::format("segments: expected stages 0 to {}, got {}", count - 1, got));
  }
}

}  // namespace

void check_plan(const Plan& plan, const std::vector<StageShape>& stages) {
  check_segments(plan.segments, stages);
  if (plan.save.size() != stages.size()) {
    throw InvalidSetting("checkpointing.save", fmt::format("save: expected {} levels, one per stage, got {}",
                                                           stages.size(), plan.save.size()));
  }
  for (const auto& [first, last, recompute] : plan.segments) {
    const SaveLevel level = plan.save[static_cast<size_t>(first)];
    for (int s = first + 1; s <= last; ++s) {
      const SaveLevel other = plan.save[static_cast<size_t>(s)];
      if (other == level) continue;
      throw InvalidSetting(
          "checkpointing.save",
          fmt::format("save: expected {} for stage {} as for the rest of its recomputed segment, got {}",
                      name_of(level), s, name_of(other)));
    }
  }
}

const char* name_of(SaveLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

std::string strip_of(const Plan& plan) {
  std::string strip;
  bool after_recomputed = false;
  for (const Segment& segment : plan.segments) {
    if (segment.recompute && after_recomputed) strip += '|';
    for (int s = segment.first; s <= segment.last; ++s) {
      strip += segment.recompute ? 'r' : kLevelMarks[static_cast<size_t>(plan.save[static_cast<size_t>(s)])];
    }
    after_recomputed = segment.recompute;
  }
  return strip;
}

}  // namespace reprise
