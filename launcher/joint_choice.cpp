#include "launcher/joint_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/plan_choice.h"
#include "launcher/spelling.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

std::vector<int64_t> candidates(const Config& config, int ranks) {
  if (config.micro_sequences != kAuto) return {config.micro_sequences};
  const int64_t share = config.global_sequences / ranks;
  if (share * ranks != config.global_sequences) {
    throw wrong_value("batch.global_sequences", fmt::format("a multiple of the {} ranks", ranks),
                      std::to_string(config.global_sequences), std::to_string((share + 1) * ranks));
  }
  std::vector<int64_t> divisors;
  for (int64_t micro = 1; micro <= share; ++micro) {
    if (share % micro == 0) divisors.push_back(micro);
  }
  return divisors;
}

// Of the policy's plans that fit somewhere.
int64_t smallest_peak(const Config& config, const CostTable& costs) {
  const bool by_layers = config.checkpointing.policy == "knapsack";
  try {
    return (by_layers ? knapsack_plan : fastest_plan)(costs, 0).predicted.peak_bytes;
  } catch (const DoesNotFit& failure) {
    return failure.smallest.predicted.peak_bytes;
  }
}

// What the smallest peak of a larger micro-batch should be, on the line through the last two that were measured. Peaks
// are the largest of quantities that grow in proportion or not at all, so the line does not overestimate.
int64_t extrapolate(const MicroRow& last, const MicroRow& before, int64_t micro_sequences) {
  const double slope = static_cast<double>(last.smallest_peak_bytes - before.smallest_peak_bytes) /
                       static_cast<double>(last.micro_sequences - before.micro_sequences);
  return last.smallest_peak_bytes +
         static_cast<int64_t>(slope * static_cast<double>(micro_sequences - last.micro_sequences));
}

bool is_better(const PlannedStep& a, const PlannedStep& b) {
  return a.predicted.step_seconds < b.predicted.step_seconds;
}

// The caps that serve the plan of the widest ones best, and the plan under them; both are left in `candidate` and
// `costs`. Every message costs more than the model charges for, so narrower buckets must gain something. Throws
// DoesNotFit.
PlannedStep plan_with_buckets(Config& candidate, CostTable& costs, const FlatLayout* layout, int local_ranks) {
  constexpr double kWorthwhile = 1e-3;
  if (layout == nullptr) return choose_plan(candidate, costs, local_ranks);
  const std::vector<BucketCaps> all_caps = bucket_caps(candidate, costs.wire.has_value());
  BucketCaps chosen = all_caps.front();
  cut_buckets(costs, *layout, chosen);
  const PlannedStep widest = choose_plan(candidate, costs, local_ranks);
  double fastest = widest.predicted.step_seconds;
  for (const BucketCaps& caps : all_caps) {
    cut_buckets(costs, *layout, caps);
    const double seconds = predict(costs, widest.plan).step_seconds;
    if (seconds > (1 - kWorthwhile) * fastest) continue;
    fastest = seconds;
    chosen = caps;
  }
  cut_buckets(costs, *layout, chosen);
  if (!costs.wire) return widest;  // nothing was chosen: auto stays auto
  candidate.distributed.bucket_bytes = chosen.bytes;
  candidate.distributed.first_bucket_bytes = chosen.first_bytes;
  return all_caps.size() == 1 ? widest : choose_plan(candidate, costs, local_ranks);
}

}  // namespace

JointChoice choose_jointly(Config& config, int ranks, int local_ranks, const FlatLayout* layout,
                           const MeasureCosts& measure) {
  const bool is_joint = config.micro_sequences == kAuto;
  int64_t budget = 0;
  if (std::string* text = budget_of(config)) {
    budget = budget_bytes(config, *text, local_ranks);
    *text = std::to_string(budget);  // a share of the memory must mean the same to every row
  }
  JointChoice choice{.ranks = ranks};
  std::optional<PlannedStep> best;
  std::vector<MicroRow> measured;
  Config resolved;
  for (const int64_t micro : candidates(config, ranks)) {
    MicroRow row{.micro_sequences = micro};
    if (measured.size() >= 2) {
      row.smallest_peak_bytes = extrapolate(measured.back(), measured[measured.size() - 2], micro);
      row.measured = row.smallest_peak_bytes <= budget;
    }
    if (!row.measured) {
      choice.rows.push_back(row);
      continue;
    }
    Config candidate = config;
    candidate.micro_sequences = micro;
    CostTable costs = measure(candidate);
    try {
      row.planned = plan_with_buckets(candidate, costs, layout, local_ranks);
    } catch (const DoesNotFit& failure) {
      if (!best) throw NothingFits(what_would_fit(failure, costs, budget), failure.smallest.predicted.peak_bytes);
    }
    if (is_joint) row.smallest_peak_bytes = smallest_peak(config, costs);
    measured.push_back(row);
    choice.rows.push_back(row);
    if (!row.planned || (best && !is_better(*row.planned, *best))) continue;
    best = row.planned;
    choice.costs = std::move(costs);
    resolved = candidate;
  }
  config = resolved;
  choice.planned = *best;
  return choice;
}

std::string bucket_line(const CostTable& costs) {
  if (!costs.wire || costs.buckets.empty()) return "";
  const int64_t widest = std::ranges::max_element(costs.buckets, {}, &BucketCost::bytes)->bytes;
  return fmt::format("wire {} + {}/s, {:.0f} % of a core: {} bucket{}, the first {}, up to {}\n",
                     format_seconds(costs.wire->latency_seconds), format_bytes(costs.wire->bytes_per_second),
                     100 * costs.wire->compute_share, costs.buckets.size(), costs.buckets.size() == 1 ? "" : "s",
                     format_bytes(costs.buckets.front().bytes), format_bytes(widest));
}

std::string micro_page(const JointChoice& choice) {
  std::string page = fmt::format("  {:>11} {:>11} {:>11} {:>11}   plan\n", "micro-batch", "peak", "step", "tokens/s");
  for (const MicroRow& row : choice.rows) {
    const bool is_chosen = row.micro_sequences == choice.costs.micro_sequences;
    page += fmt::format("{} {:>11} ", is_chosen ? '*' : ' ', row.micro_sequences);
    if (row.planned) {
      const Prediction& predicted = row.planned->predicted;
      const double tokens = static_cast<double>(choice.costs.tokens * choice.costs.micro_batches * choice.ranks);
      page += fmt::format("{:>11} {:>11} {:>11}   {}\n", format_bytes(predicted.peak_bytes),
                          format_seconds(predicted.step_seconds), format_count(tokens / predicted.step_seconds),
                          strip_of(row.planned->plan));
    } else {
      page += fmt::format("{:>11}   does not fit: the smallest peak {} this\n", format_bytes(row.smallest_peak_bytes),
                          row.measured ? "is" : "would be about");
    }
  }
  return page;
}

nlohmann::ordered_json micro_json(const JointChoice& choice) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const MicroRow& row : choice.rows) {
    const bool fits = row.planned.has_value();
    list.push_back(JSON_FIELDS(row.micro_sequences, fits, row.measured, row.smallest_peak_bytes));
    if (!fits) continue;
    const Prediction& predicted = row.planned->predicted;
    list.back().update(JSON_FIELDS(predicted.step_seconds, predicted.peak_bytes));
  }
  return list;
}

}  // namespace reprise
