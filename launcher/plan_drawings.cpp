#include "launcher/plan_drawings.h"

#include <fmt/format.h>

#include "monitoring/format.h"
#include "monitoring/svg_plot.h"

namespace reprise {

namespace {

constexpr double kMiB = 1 << 20;

std::string label_of(const CostTable& costs, const TimelineEvent& event) {
  switch (event.kind) {
    case TimelineKind::wire:
      return fmt::format("bucket {}", event.index);
    case TimelineKind::optimizer:
      return "update";
    default:
      return costs[event.index].name;
  }
}

// Two lanes, no events yet.
LanesDrawing step_drawing(const std::string& title) {
  LanesDrawing drawing;
  drawing.title = title;
  drawing.lane_names = {"compute", "wire"};
  drawing.kind_names = {"forward", "replay", "backward", "gradients on the wire", "optimizer"};
  return drawing;
}

void add_event(LanesDrawing& drawing, const CostTable& costs, const TimelineEvent& event) {
  drawing.events.push_back({.lane = event.kind == TimelineKind::wire ? 1 : 0,
                            .start = event.start_seconds,
                            .end = event.end_seconds,
                            .kind = static_cast<int>(event.kind),
                            .label = label_of(costs, event)});
}

TimelineKind kind_of(EventKind kind) {
  switch (kind) {
    case EventKind::forward:
      return TimelineKind::forward;
    case EventKind::recompute:
      return TimelineKind::replay;
    default:
      return TimelineKind::backward;
  }
}

}  // namespace

std::string draw_timeline(const CostTable& costs, const PlannedStep& step, int64_t budget_bytes) {
  const Timeline timeline = simulate(costs, step.plan);
  LanesDrawing drawing = step_drawing(fmt::format("One step under plan {}: {}, peak {}", step.plan.origin,
                                                  format_seconds(step.predicted.step_seconds),
                                                  format_bytes(static_cast<uint64_t>(step.predicted.peak_bytes))));
  for (const TimelineEvent& event : timeline.events) add_event(drawing, costs, event);
  drawing.curve_title = "memory (MiB)";
  for (const MemoryPoint& point : timeline.memory) {
    drawing.curve_seconds.push_back(point.seconds);
    drawing.curve_values.push_back(static_cast<double>(point.bytes) / kMiB);
  }
  drawing.budget = static_cast<double>(budget_bytes) / kMiB;
  return draw_lanes(drawing);
}

std::string draw_measured(const CostTable& costs, const std::string& policy, const RehearsedStep& step) {
  LanesDrawing drawing =
      step_drawing(fmt::format("One step under {}, measured: {}", policy, format_seconds(step.step_seconds)));
  const double start = step.start_seconds;
  for (const StageEvent& event : step.events) {
    add_event(
        drawing, costs,
        {kind_of(event.kind), event.stage, event.micro_batch, event.start_seconds - start, event.end_seconds - start});
    drawing.curve_seconds.push_back(event.end_seconds - start);
    drawing.curve_values.push_back(static_cast<double>(event.live_bytes) / kMiB);
  }
  drawing.curve_title = "memory (MiB)";
  for (size_t bucket = 0; bucket < step.wire.buckets.size(); ++bucket) {
    const WireInterval& interval = step.wire.buckets[bucket];
    add_event(drawing, costs,
              {TimelineKind::wire, static_cast<int>(bucket), 0, interval.started_seconds - start,
               interval.finished_seconds - start});
  }
  add_event(drawing, costs,
            {TimelineKind::optimizer, -1, 0, step.step_seconds - step.optimizer_seconds, step.step_seconds});
  return draw_lanes(drawing);
}

std::string draw_frontier(const std::vector<FrontierPoint>& frontier, const std::vector<PolicyRow>& policies) {
  Plot plot;
  plot.title = "The fastest step at every peak";
  plot.x_title = "peak tensor bytes of a rank (MiB)";
  plot.y_title = "step (ms)";
  Series front{.name = "fastest plan", .marks = frontier.size() == 1};
  for (const FrontierPoint& point : frontier) {
    if (!front.x.empty()) {  // below a point's peak only the next, slower one fits
      front.x.push_back(front.x.back());
      front.y.push_back(1e3 * point.step_seconds);
    }
    front.x.push_back(static_cast<double>(point.peak_bytes) / kMiB);
    front.y.push_back(1e3 * point.step_seconds);
  }
  Series named{.name = "named policies", .line = false, .marks = true};
  for (const PolicyRow& row : policies) {
    if (!row.predicted || row.policy == "budget") continue;
    named.x.push_back(static_cast<double>(row.predicted->peak_bytes) / kMiB);
    named.y.push_back(1e3 * row.predicted->step_seconds);
    named.labels.push_back(row.policy);
  }
  plot.series = {front, named};
  return draw_plot(plot);
}

}  // namespace reprise
