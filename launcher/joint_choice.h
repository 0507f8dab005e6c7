#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "distributed/flat_layout.h"
#include "launcher/config.h"

namespace reprise {

// No plan fits the budget; says what would. Exit code 69.
struct NothingFits : std::runtime_error {
  NothingFits(const std::string& message, int64_t smallest)
      : std::runtime_error(message), smallest_peak_bytes(smallest) {}
  const int64_t smallest_peak_bytes;
};

// A micro-batch that was considered.
struct MicroRow {
  int64_t micro_sequences = 1;
  std::optional<PlannedStep> planned;  // nothing: its smallest peak is too big
  int64_t smallest_peak_bytes = 0;
  bool measured = true;  // false: smallest_peak_bytes follows from the rows before
};

struct JointChoice {
  int ranks = 1;
  CostTable costs;
  PlannedStep planned;
  std::vector<MicroRow> rows;  // by micro-batch; one row unless batch.micro_sequences was auto
};

// The costs of a configuration with a micro-batch given.
using MeasureCosts = std::function<CostTable(const Config&)>;

// The plan of the configuration's policy, with every auto resolved in `config` to what makes the predicted step
// fastest: `batch.micro_sequences` among the divisors of a rank's share of the global batch, and of equally fast ones
// the smallest; bucket caps among powers of two, and of nearly equally fast ones the widest. Without `layout` the cost
// table's own buckets stand. Micro-batches are measured from 1 upwards as long as something may fit, which depends on
// bytes alone: so equal budgets make equal calls of `measure` on every rank. Throws NothingFits, InvalidSetting.
JointChoice choose_jointly(Config& config, int ranks, int local_ranks, const FlatLayout* layout,
                           const MeasureCosts& measure);

// The wire and the gradient buckets in words, a line; empty without either.
std::string bucket_line(const CostTable& costs);

// The rows as a table for people and as JSON.
std::string micro_page(const JointChoice& choice);
nlohmann::ordered_json micro_json(const JointChoice& choice);

}  // namespace reprise
