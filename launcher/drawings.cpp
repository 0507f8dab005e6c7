#include "launcher/drawings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "monitoring/format.h"
#include "training/file_system.h"

namespace reprise {
namespace {

constexpr double kMiB = 1 << 20;

std::string label_of(const CostTable& costs, const TimelineEvent& event) {
  if (event.kind == TimelineKind::wire) return fmt::format("bucket {}", event.index);
  return event.kind == TimelineKind::optimizer ? "update" : costs[event.index].name;
}

std::string draw_losses(const std::string& run, const std::vector<Series>& losses) {
  return draw({.title = "Loss of " + run,
               .x_title = "step",
               .panels = {{.y_title = "loss (nats per token)", .series = losses}}});
}

class LossPlot final : public Sink {
 public:
  explicit LossPlot(std::string path) : path_(std::move(path)) {}

  void start(const RunStart& start) override { run_ = start.run; }
  void step(const StepReport& report) override {
    train_.points.push_back({static_cast<double>(report.step), report.loss});
  }
  void evaluation(const EvaluationReport& report) override {
    held_out_.points.push_back({static_cast<double>(report.step), report.loss});
    draw_file();
  }
  void end(const RunEnd&) override { draw_file(); }

 private:
  void draw_file() const { write_durably(path_, draw_losses(run_, {train_, held_out_})); }

  const std::string path_;
  std::string run_;
  Series train_{"training"}, held_out_{"held-out text", Shape::marked_line};
};

}  // namespace

std::string draw_step(const std::string& title, const CostTable& costs, const Timeline& step, int64_t budget_bytes) {
  double last = 0;
  for (const TimelineEvent& event : step.events) last = std::max(last, event.end_seconds);
  const auto [unit, unit_name] = last < 2e-3 ? std::pair{1e6, "µs"}
                                 : last < 2  ? std::pair{1e3, "ms"}
                                             : std::pair{1.0, "s"};

  Panel lanes{.y_names = {"wire", "compute"}, .share = 0.35};  // a series for each TimelineKind
  for (const char* kind : {"forward", "replay", "backward", "gradients on the wire", "optimizer"}) {
    lanes.series.push_back({kind, Shape::boxes});
  }
  for (const TimelineEvent& event : step.events) {
    const double lane = event.kind == TimelineKind::wire ? 0 : 1;
    lanes.series[static_cast<size_t>(event.kind)].points.push_back({.x = unit * event.start_seconds,
                                                                    .y = lane - 0.4,
                                                                    .label = label_of(costs, event),
                                                                    .x_end = unit * event.end_seconds,
                                                                    .y_end = lane + 0.4});
  }
  const double first = step.memory.empty() ? 0 : step.memory.front().seconds;
  Series memory{"memory", Shape::steps, {{unit * first, 0}}}, budget;
  for (const MemoryPoint& point : step.memory) {
    memory.points.push_back({unit * point.seconds, static_cast<double>(point.bytes) / kMiB});
  }
  memory.points.push_back({unit * last, memory.points.back().y});
  if (budget_bytes > 0) {
    const double height = static_cast<double>(budget_bytes) / kMiB;
    budget = {"budget " + format_bytes(budget_bytes), Shape::line, {{0, height}, {unit * last, height}}};
  }
  return draw({.title = title,
               .x_title = fmt::format("time ({})", unit_name),
               .panels = {lanes, {.y_title = "memory (MiB)", .series = {memory, budget}, .share = 0.65}},
               .width = 900});
}

std::string draw_timeline(const CostTable& costs, const PlannedStep& step, int64_t budget_bytes) {
  const std::string title =
      fmt::format("One step under plan {}: {}, peak {}", step.plan.origin, format_seconds(step.predicted.step_seconds),
                  format_bytes(step.predicted.peak_bytes));
  return draw_step(title, costs, simulate(costs, step.plan), budget_bytes);
}

std::string draw_frontier(const std::vector<FrontierPoint>& frontier, const std::vector<PolicyRow>& policies) {
  const auto point = [](int64_t bytes, double seconds) {
    return Point{static_cast<double>(bytes) / kMiB, 1e3 * seconds};
  };
  Panel panel{.y_title = "step (ms)", .series = {{"fastest plan", Shape::steps}}};
  for (auto best = frontier.rbegin(); best != frontier.rend(); ++best) {  // up to the next peak only this one fits
    panel.series[0].points.push_back(point(best->peak_bytes, best->step_seconds));
  }
  std::map<std::pair<int64_t, double>, std::string> named;
  for (const PolicyRow& row : policies) {
    if (!row.predicted || row.policy == "budget") continue;
    std::string& names = named[{row.predicted->peak_bytes, row.predicted->step_seconds}];
    names += (names.empty() ? "" : " = ") + row.policy;
  }
  for (const auto& [cost, names] : named) {
    panel.series.push_back({names, Shape::points, {point(cost.first, cost.second)}});
  }
  return draw(
      {.title = "The fastest step at every peak", .x_title = "peak tensor bytes of a rank (MiB)", .panels = {panel}});
}

std::vector<Series> losses_of(const RunHistory& history) {
  Series train{"training"}, held_out{"held-out text", Shape::marked_line};
  for (const StepReport& step : history.steps) train.points.push_back({static_cast<double>(step.step), step.loss});
  for (const EvaluationReport& report : history.evaluations) {
    held_out.points.push_back({static_cast<double>(report.step), report.loss});
  }
  return {train, held_out};
}

std::string draw_loss(const RunHistory& history) { return draw_losses(history.run.run, losses_of(history)); }

std::string draw_phases(const RunHistory& history) {
  constexpr size_t kMostBars = 60;
  const std::vector<StepReport>& steps = history.steps;
  const size_t together = (steps.size() + kMostBars - 1) / kMostBars;
  Panel panel{.y_title = "mean step (ms)"};
  for (const auto& [name, phase] : kPhases) panel.series.push_back({name, Shape::boxes});
  for (size_t first = 0; first < steps.size(); first += together) {
    const size_t count = std::min(together, steps.size() - first);
    double height = 0;
    for (size_t i = 0; i < std::size(kPhases); ++i) {
      double sum = 0;
      for (size_t s = first; s < first + count; ++s) sum += 1e3 * (steps[s].*kPhases[i].second);
      const double top = height + sum / static_cast<double>(count);
      const auto left = static_cast<double>(steps[first].step);
      panel.series[i].points.push_back(
          {.x = left - 0.5, .y = height, .x_end = left - 0.5 + static_cast<double>(count), .y_end = top});
      height = top;
    }
  }
  return draw({.title = "Where a step's time goes, on rank 0", .x_title = "step", .panels = {panel}});
}

std::string draw_memory(const RunHistory& history, int64_t budget_bytes) {
  Series peak{"measured", Shape::steps};
  for (const StepReport& step : history.steps) {
    peak.points.push_back({static_cast<double>(step.step), static_cast<double>(step.peak_bytes_max) / kMiB});
  }
  Panel panel{.y_title = "peak tensor bytes of the fullest rank (MiB)", .series = {peak}, .from_zero = true};
  const auto add_line = [&](const std::string& name, double bytes) {
    if (bytes <= 0 || peak.points.empty()) return;
    panel.series.push_back({fmt::format("{} {}", name, format_bytes(bytes)),
                            Shape::line,
                            {{peak.points.front().x, bytes / kMiB}, {peak.points.back().x, bytes / kMiB}}});
  };
  add_line("planned", static_cast<double>(history.run.planned_peak_bytes));
  add_line("budget", static_cast<double>(budget_bytes));
  return draw({.title = "Memory against the plan", .x_title = "step", .panels = {panel}});
}

std::unique_ptr<Sink> make_loss_plot(const std::string& path) { return std::make_unique<LossPlot>(path); }

}  // namespace reprise
