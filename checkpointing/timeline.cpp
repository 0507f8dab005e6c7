#include "checkpointing/timeline.h"

#include <algorithm>

namespace reprise {
namespace {

// Long double, so that plans that take equally long are predicted equal whatever the order of their sums.
using Seconds = long double;

// What a plan makes of the stages: how long each is busy in the backward (the replay at a segment's last stage).
std::vector<Seconds> backward_of(const CostTable& costs, const Plan& plan) {
  std::vector<Seconds> busy;
  for (const Segment& segment : plan.segments) {
    Seconds replay = 0;
    for (int s = segment.first; s <= segment.last; ++s) {
      const Seconds extra = costs[s].at(plan.save[static_cast<size_t>(s)]).extra_seconds;
      busy.push_back(costs[s].backward_seconds + extra);
      if (segment.recompute) replay += costs[s].forward_seconds;
    }
    busy.back() += replay;
  }
  return busy;
}

// Bytes at each moment of one segment, `held` by the segments before it, `waiting` in the gradient at its end.
struct SegmentMoments {
  std::vector<int64_t> forward, replay, backward;  // by stage of the segment
  int64_t held_after = 0;                          // by this segment and those before, once its forward is done
};

SegmentMoments moments_of(const CostTable& costs, const Plan& plan, const Segment& segment, int64_t held) {
  SegmentMoments moments;
  const bool recompute = segment.recompute;
  const int64_t boundary = costs[segment.first].boundary_bytes;
  const int64_t waiting = segment.last + 1 < costs.size() ? costs[segment.last + 1].boundary_bytes : 0;
  int64_t kept = 0;
  for (int s = segment.first; s <= segment.last; ++s) {
    const SaveCost& save = costs[s].at(plan.save[static_cast<size_t>(s)]);
    kept += save.kept_bytes;
    const int64_t own = s > segment.first ? costs[s].boundary_bytes : 0;
    moments.forward.push_back(held + (recompute ? boundary + own : kept) + save.forward_workspace_bytes);
    if (recompute) moments.replay.push_back(held + kept + waiting + save.forward_workspace_bytes);
    moments.backward.push_back(held + kept + save.backward_workspace_bytes);
  }
  moments.held_after = held + (recompute ? boundary : kept);
  return moments;
}

std::vector<SegmentMoments> moments_of(const CostTable& costs, const Plan& plan) {
  std::vector<SegmentMoments> moments;
  int64_t held = costs.base_bytes;
  for (const Segment& segment : plan.segments) {
    moments.push_back(moments_of(costs, plan, segment, held));
    held = moments.back().held_after;
  }
  return moments;
}

// The compute lane and the memory curve of a timeline under construction.
struct Lanes {
  Timeline timeline;
  Seconds now = 0;

  void run(TimelineKind kind, int stage, int64_t micro_batch, Seconds seconds, int64_t bytes) {
    const Seconds end = now + seconds;
    timeline.events.push_back({kind, stage, micro_batch, static_cast<double>(now), static_cast<double>(end)});
    timeline.memory.push_back({static_cast<double>(now), bytes});
    now = end;
  }
};

// Bucket b, launched once the backward of its lowest stage is done, waits for the bucket before it. Returns the end of
// the last.
Seconds run_wire(const CostTable& costs, const std::vector<Seconds>& done, Lanes& lanes) {
  Seconds free = 0;
  if (!costs.wire) return free;
  for (size_t b = 0; b < costs.buckets.size(); ++b) {
    const BucketCost& bucket = costs.buckets[b];
    const Seconds start = std::max(free, done[static_cast<size_t>(bucket.lowest)]);
    free = start + costs.wire->latency_seconds + static_cast<Seconds>(bucket.bytes) / costs.wire->bytes_per_second;
    lanes.timeline.events.push_back({TimelineKind::wire, static_cast<int>(b), costs.micro_batches - 1,
                                     static_cast<double>(start), static_cast<double>(free)});
  }
  return free;
}

}  // namespace

Prediction predict(const CostTable& costs, const Plan& plan) {
  check_plan(plan, shapes_of(costs));
  const std::vector<double> wire = wire_seconds_up_to(costs);
  const std::vector<Seconds> busy = backward_of(costs, plan);
  Seconds forward = 0, backward = 0, finish = 0;
  for (int s = 0; s < costs.size(); ++s) {
    const auto j = static_cast<size_t>(s);
    forward += costs[s].forward_seconds;
    backward += busy[j];
    finish = std::max(finish, static_cast<Seconds>(wire[j])) + busy[j];
  }
  const auto n = static_cast<Seconds>(costs.micro_batches);
  Prediction prediction;
  prediction.step_seconds = static_cast<double>(n * forward + (n - 1) * backward + finish + costs.optimizer_seconds);
  prediction.exposed_seconds = static_cast<double>(finish - backward);
  for (const SegmentMoments& moments : moments_of(costs, plan)) {
    for (const auto* bytes : {&moments.forward, &moments.replay, &moments.backward}) {
      for (const int64_t moment : *bytes) prediction.peak_bytes = std::max(prediction.peak_bytes, moment);
    }
  }
  return prediction;
}

Timeline simulate(const CostTable& costs, const Plan& plan) {
  Lanes lanes;
  lanes.timeline.predicted = predict(costs, plan);
  const std::vector<SegmentMoments> moments = moments_of(costs, plan);
  std::vector<Seconds> done(costs.stages.size());
  for (int64_t micro = 0; micro < costs.micro_batches; ++micro) {
    for (size_t i = 0; i < plan.segments.size(); ++i) {
      const auto [first, last, recompute] = plan.segments[i];
      for (int s = first; s <= last; ++s) {
        const auto offset = static_cast<size_t>(s - first);
        lanes.run(TimelineKind::forward, s, micro, costs[s].forward_seconds, moments[i].forward[offset]);
      }
    }
    for (size_t i = plan.segments.size(); i-- > 0;) {
      const auto [first, last, recompute] = plan.segments[i];
      for (int s = first; recompute && s <= last; ++s) {
        const auto offset = static_cast<size_t>(s - first);
        lanes.run(TimelineKind::replay, s, micro, costs[s].forward_seconds, moments[i].replay[offset]);
      }
      for (int s = last; s >= first; --s) {
        const auto offset = static_cast<size_t>(s - first);
        const Seconds extra = costs[s].at(plan.save[static_cast<size_t>(s)]).extra_seconds;
        lanes.run(TimelineKind::backward, s, micro, costs[s].backward_seconds + extra, moments[i].backward[offset]);
        done[static_cast<size_t>(s)] = lanes.now;
      }
    }
  }
  Lanes wire;
  const Seconds reduced = run_wire(costs, done, wire);
  if (reduced > lanes.now) lanes.timeline.memory.push_back({static_cast<double>(lanes.now), costs.base_bytes});
  lanes.now = std::max(lanes.now, reduced);
  lanes.run(TimelineKind::optimizer, -1, costs.micro_batches - 1, costs.optimizer_seconds, costs.base_bytes);
  auto& events = lanes.timeline.events;
  events.insert(events.end(), wire.timeline.events.begin(), wire.timeline.events.end());
  return lanes.timeline;
}

}  // namespace reprise
