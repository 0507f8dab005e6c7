#include "checkpointing/timeline.h"

#include <algorithm>

namespace reprise {
namespace {

// Long double, so that plans that take equally long are predicted equal whatever the order of their sums.
using Seconds = long double;

// One stage at work, and the bytes alive meanwhile.
struct Moment {
  TimelineKind kind;
  int stage;
  Seconds seconds;
  int64_t bytes;
};

// A micro-batch in order: every forward; then, last segment first, what it replays and its stages' backward.
std::vector<Moment> moments_of(const CostTable& costs, const Plan& plan) {
  std::vector<Moment> moments, then;  // `then` from its end to its beginning
  int64_t held = costs.base_bytes;    // by the segments before
  for (const auto& [first, last, recompute] : plan.segments) {
    const int64_t boundary = costs[first].boundary_bytes;
    const int64_t waiting = last + 1 < costs.size() ? costs[last + 1].boundary_bytes : 0;  // gradient at its end
    int64_t kept = 0;
    std::vector<Moment> replay;
    for (int s = first; s <= last; ++s) {
      const StageCost& stage = costs[s];
      const SaveCost& save = stage.at(plan.save[static_cast<size_t>(s)]);
      kept += save.kept_bytes;
      const int64_t forgetting = boundary + (s > first ? stage.boundary_bytes : 0);
      moments.push_back({TimelineKind::forward, s, stage.forward_seconds,
                         held + (recompute ? forgetting : kept) + save.forward_workspace_bytes});
      replay.push_back({TimelineKind::replay, s, stage.replay_seconds(s == last),
                        held + kept + waiting + save.forward_workspace_bytes});
      then.push_back({TimelineKind::backward, s, static_cast<Seconds>(stage.backward_seconds) + save.extra_seconds,
                      held + kept + save.backward_workspace_bytes});
    }
    if (recompute) then.insert(then.end(), replay.rbegin(), replay.rend());
    held += recompute ? boundary : kept;
  }
  moments.insert(moments.end(), then.rbegin(), then.rend());
  return moments;
}

}  // namespace

Prediction predict(const CostTable& costs, const Plan& plan) {
  check_plan(plan, shapes_of(costs));
  const std::vector<double> wire = wire_seconds_up_to(costs);
  const Seconds share = compute_share_of(costs);
  const std::vector<Moment> moments = moments_of(costs, plan);
  Prediction prediction;
  Seconds forward = 0, backward = 0, finish = 0;
  for (auto moment = moments.rbegin(); moment != moments.rend(); ++moment) {  // the backward from stage 0 on
    prediction.peak_bytes = std::max(prediction.peak_bytes, moment->bytes);
    if (moment->kind == TimelineKind::backward) {
      const Seconds late = costs[moment->stage].late_seconds;
      const double* const own = &wire[2 * static_cast<size_t>(moment->stage)];
      finish = std::max(std::max(finish, (1 - share) * own[0]) + late, (1 - share) * own[1]) - late;
    }
    if (moment->kind == TimelineKind::forward) {
      forward += moment->seconds;
    } else {
      backward += moment->seconds;
      finish += moment->seconds;
    }
  }
  const auto n = static_cast<Seconds>(costs.micro_batches);
  finish += share * wire.back();
  prediction.step_seconds = static_cast<double>(n * forward + (n - 1) * backward + finish + costs.optimizer_seconds);
  backward += share * (wire.back() - wire.front());  // the last buckets find nothing that computes
  prediction.exposed_seconds = static_cast<double>(finish - backward);
  return prediction;
}

Timeline simulate(const CostTable& costs, const Plan& plan) {
  Timeline timeline;
  timeline.predicted = predict(costs, plan);
  Seconds now = 0;
  const auto event = [](TimelineKind kind, int index, int64_t micro_batch, Seconds start, Seconds end) {
    return TimelineEvent{kind, index, micro_batch, static_cast<double>(start), static_cast<double>(end)};
  };
  const auto run = [&](const Moment& moment, int64_t micro_batch) {
    timeline.events.push_back(event(moment.kind, moment.stage, micro_batch, now, now + moment.seconds));
    timeline.memory.push_back({static_cast<double>(now), moment.bytes});
    now += moment.seconds;
  };
  const int64_t last_micro_batch = costs.micro_batches - 1;
  const std::vector<Moment> moments = moments_of(costs, plan);
  std::vector<Seconds> done(2 * costs.stages.size());  // by point
  const std::vector<double> sent = wire_seconds_up_to(costs);
  for (int64_t micro_batch = 0; micro_batch <= last_micro_batch; ++micro_batch) {
    for (Moment moment : moments) {
      const size_t point = 2 * static_cast<size_t>(moment.stage);
      const auto owed = [&](size_t to) {  // by what computes from the point behind to this one
        const bool finds_wire_busy = micro_batch == last_micro_batch && moment.kind == TimelineKind::backward;
        return finds_wire_busy && to + 1 < sent.size() ? compute_share_of(costs) * (sent[to + 1] - sent[to]) : 0.0;
      };
      moment.seconds += owed(point + 1) + owed(point);
      run(moment, micro_batch);
      done[point] = now;
      done[point + 1] = now - costs[moment.stage].late_seconds - owed(point);
    }
  }
  // Bucket b, launched at its point, waits for the bucket before it.
  std::vector<TimelineEvent> wire;
  Seconds free = 0;
  for (size_t b = 0; costs.wire && b < costs.buckets.size(); ++b) {
    const BucketCost& bucket = costs.buckets[b];
    const Seconds start = std::max(free, done[static_cast<size_t>(bucket.point())]);
    free = start + costs.wire->latency_seconds + static_cast<Seconds>(bucket.bytes) / costs.wire->bytes_per_second;
    wire.push_back(event(TimelineKind::wire, static_cast<int>(b), last_micro_batch, start, free));
  }
  if (free > now) timeline.memory.push_back({static_cast<double>(now), costs.base_bytes});
  now = std::max(now, free);
  run({TimelineKind::optimizer, -1, costs.optimizer_seconds, costs.base_bytes}, last_micro_batch);
  timeline.events.insert(timeline.events.end(), wire.begin(), wire.end());
  return timeline;
}

}  // namespace reprise
