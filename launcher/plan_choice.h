#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "launcher/config.h"

namespace reprise {

// "every:2" as the settings that a file would hold; none for "".
std::vector<std::string> policy_settings(const std::string& policy);

// The setting that holds the policy's budget; nullptr: the policy has none.
std::string* budget_of(Config& config);

// The bytes of a budget such as "3GiB" or "90%": of (the cgroup's limit or the machine's memory) ÷ ranks on this host,
// less what this process holds beside tensors; of the memory of this rank's GPU where that computes.
int64_t budget_bytes(const Config& config, const std::string& budget, int local_ranks);

// The plan of the configuration's policy, whichever it is. Throws DoesNotFit, and InvalidSetting for what the chain
// does not allow.
PlannedStep choose_plan(const Config& config, const CostTable& costs, int local_ranks);

// One sentence on the failure: the smallest peak possible, the plan that has it, and the micro-batch that would fit.
std::string what_would_fit(const DoesNotFit& failure, const CostTable& costs, int64_t budget_bytes);

}  // namespace reprise
