#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpointing/planner.h"

namespace reprise {

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
