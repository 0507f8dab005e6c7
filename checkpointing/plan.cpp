#include "checkpointing/plan.h"

#include <iterator>
#include <stdexcept>

namespace reprise {
namespace {

constexpr const char* kLevelNames[] = {"all", "lean", "input"};  // in the order of SaveLevel
constexpr char kLevelMarks[] = {'=', '-', '.'};

[[noreturn]] void refuse(size_t segment, const std::string& expected) {
  throw std::invalid_argument("segment " + std::to_string(segment) + ": expected " + expected);
}

}  // namespace

void check_segments(const std::vector<Segment>& segments, const std::vector<StageShape>& stages) {
  const int count = static_cast<int>(stages.size());
  int next = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto [first, last, recompute] = segments[i];
    if (next == count) refuse(i, "no more segments: the " + std::to_string(count) + " stages are covered already");
    if (first != next) refuse(i, "first stage " + std::to_string(next) + ", got " + std::to_string(first));
    if (last < first) refuse(i, "last stage from " + std::to_string(first) + " on, got " + std::to_string(last));
    if (last >= count) refuse(i, "last stage up to " + std::to_string(count - 1) + ", got " + std::to_string(last));
    if (!recompute && last != first) {
      refuse(i, "one stage in a kept segment (last " + std::to_string(first) + "), got last " + std::to_string(last));
    }
    for (int s = first; recompute && s <= last; ++s) {
      if (!stages[static_cast<size_t>(s)].recomputable) {
        refuse(i, "only recomputable stages, got stage " + std::to_string(s) + ", which is always kept");
      }
    }
    next = last + 1;
  }
  if (next != count) {
    const std::string got = next == 0 ? "none" : "0 to " + std::to_string(next - 1);
    throw std::invalid_argument("segments: expected stages 0 to " + std::to_string(count - 1) + ", got " + got);
  }
}

void check_plan(const Plan& plan, const std::vector<StageShape>& stages) {
  check_segments(plan.segments, stages);
  if (plan.save.size() != stages.size()) {
    throw std::invalid_argument("save: expected " + std::to_string(stages.size()) + " levels, one per stage, got " +
                                std::to_string(plan.save.size()));
  }
  for (const Segment& segment : plan.segments) {
    const SaveLevel level = plan.save[static_cast<size_t>(segment.first)];
    for (int s = segment.first + 1; s <= segment.last; ++s) {
      const SaveLevel other = plan.save[static_cast<size_t>(s)];
      if (other != level) {
        throw std::invalid_argument("save: expected " + std::string(name_of(level)) + " for stage " +
                                    std::to_string(s) + " as for the rest of its recomputed segment, got " +
                                    name_of(other));
      }
    }
  }
}

const char* name_of(SaveLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

SaveLevel save_level_of(const std::string& name) {
  for (size_t i = 0; i < std::size(kLevelNames); ++i) {
    if (name == kLevelNames[i]) return static_cast<SaveLevel>(i);
  }
  throw std::invalid_argument("expected all, lean or input, got \"" + name + "\"");
}

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
