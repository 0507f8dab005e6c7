#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpointing/planner.h"

namespace reprise {

// A plan for people: its strip, what each run of stages does and holds, and what the step is predicted to
// cost.
std::string plan_page(const CostTable& costs, const PlannedStep& step);

// Says in words what bounds the step under this plan: "the wire is the bottleneck: the first 7 of 12 layers recompute
// for free", or "compute is the bottleneck: recomputing takes 12.3 % of the step". The wire is the bottleneck when it
// is busy from some gradient on until the step ends while stages below still compute: what they compute costs nothing;
// or when the last micro-batch mostly waits for it, though nothing can hide.
std::string regime_of(const CostTable& costs, const Plan& plan);

// {"plan": {"segments": […], "save": […]}, "predicted": {"step_seconds", "peak_bytes", "exposed_seconds"}}
nlohmann::ordered_json plan_json(const PlannedStep& step);
nlohmann::ordered_json prediction_json(const Prediction& predicted);  // what stands under "predicted"

// A policy at a budget. Policies with a number appear with the one that is fastest within the budget, or with the
// smallest peak when none fits.
struct PolicyRow {
  std::string policy;
  std::optional<Prediction> predicted;  // nothing: the policy has no plan at all
  bool fits = false;
};

std::vector<PolicyRow> compare_policies(const CostTable& costs, int64_t budget_bytes);
std::string compare_page(const std::vector<PolicyRow>& rows, int64_t budget_bytes);

}  // namespace reprise
