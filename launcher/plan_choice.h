#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "distributed/flat_layout.h"
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

struct BucketCaps {
  int64_t first_bytes = 0, bytes = 0;
  int64_t element_bytes = sizeof(float);  // of a gradient on the wire
};

// The caps that the configuration allows, widest first: powers of two where it says auto. The widest alone without a
// wire, which makes all of them equal.
std::vector<BucketCaps> bucket_caps(const Config& config, bool has_wire);

// Cuts the flat gradients into the table's buckets.
void cut_buckets(CostTable& costs, const FlatLayout& layout, const BucketCaps& caps);

}  // namespace reprise
