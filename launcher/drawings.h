#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "launcher/plan_page.h"
#include "monitoring/figure.h"
#include "monitoring/json_lines.h"
#include "monitoring/step_report.h"

namespace reprise {

// Each drawing is an SVG.

// What one step does on the compute and the wire lane over the memory it holds, with the budget line (0: none).
std::string draw_step(const std::string& title, const CostTable& costs, const Timeline& step, int64_t budget_bytes);

// The same of the step that a plan promises.
std::string draw_timeline(const CostTable& costs, const PlannedStep& step, int64_t budget_bytes);

// The fastest step at every peak, and the named policies as points.
std::string draw_frontier(const std::vector<FrontierPoint>& frontier, const std::vector<PolicyRow>& policies);

// The loss of training and of held-out text over steps.
std::vector<Series> losses_of(const RunHistory& history);

// Of a run, over its steps: training and held-out loss, the mean seconds of a step's phases, and the highest peak of
// all ranks with what was planned and allowed (0: no budget). Of long runs each bar or point stands for several steps.
std::string draw_loss(const RunHistory& history);
std::string draw_phases(const RunHistory& history);
std::string draw_memory(const RunHistory& history, int64_t budget_bytes);

// Training and held-out loss over steps in a file, drawn anew at every evaluation and at the end. Throws StorageError.
std::unique_ptr<Sink> make_loss_plot(const std::string& path);

}  // namespace reprise
