#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/rehearsal.h"
#include "checkpointing/planner.h"
#include "distributed/communicator.h"
#include "launcher/config.h"
#include "launcher/device_choice.h"

namespace reprise {

// Median and half the distance of the quartiles; of times that are the slowest rank's.
struct Spread {
  double median = 0, half_width = 0;
};

// One policy, measured four ways in turn.
struct OverlapRow {
  std::string policy;
  CostTable costs;
  PlannedStep planned;
  int64_t peak_bytes = 0;
  Spread compute;  // the step with communication off
  Spread alone;    // its buckets summed one after the other while nothing computes
  Spread overlapped, serial;
  double bound_seconds = 0;  // flow shop: compute up to each bucket's last stage, then the wire at line rate
  double core_share = 0;     // of a core, by the communication thread during the overlapped step
  RehearsedStep example;     // an overlapped step, as it was on this rank

  double exposed_share() const { return (overlapped.median - compute.median) / alone.median; }
};

// Policy of a row: the same planner, budget and buckets, but blind to the wire.
inline constexpr const char* kBudgetWithoutWire = "budget, no wire";

struct OverlapSetting {
  std::vector<std::string> policies;  // as of `plan --policy`, and kBudgetWithoutWire
  int64_t budget_bytes = 0;           // 0: base and 35 % of the activation bytes of `none`
  double line_bytes_per_second = 0;   // for the bound; 0: what the buckets reach alone
  int rounds = 7;
};

// The configuration under a policy of the bench; one with a budget and no value gets `budget_bytes`. Throws
// ConfigError.
Config with_policy(Config config, const std::string& policy, int64_t budget_bytes);

// Collective; at least two ranks. `config` is resolved but for policy and buckets, which every row chooses for itself.
// Every rank returns the same figures, examples excepted.
std::vector<OverlapRow> measure_overlap(const Config& config, const DeviceChoice& device, Communicator& communicator,
                                        const OverlapSetting& setting);

}  // namespace reprise
