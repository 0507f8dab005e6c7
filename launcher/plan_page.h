#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "checkpointing/planner.h"

namespace reprise {

// A plan for people: its strip in layers, what each run of stages does and holds, and what the step is predicted to
// cost.
std::string plan_page(const CostTable& costs, const PlannedStep& step);

// "[rr rr] == =.": two characters a layer (attention, feed-forward), brackets around stages that are recomputed as one.
std::string layer_strip(const CostTable& costs, const Plan& plan);

// {"plan": {"segments": […], "save": […]}, "predicted": {"step_seconds", "peak_bytes", "exposed_seconds"}}
nlohmann::ordered_json plan_json(const PlannedStep& step);

}  // namespace reprise
