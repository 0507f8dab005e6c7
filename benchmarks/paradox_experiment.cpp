// Under one memory cap: does recomputation, which costs time, win it back by letting a larger micro-batch in?
#include <fmt/format.h>

#include <cmath>
#include <functional>

#include "benchmarks/experiments.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/units.h"
#include "monitoring/format.h"

namespace reprise::bench {
namespace {

const std::vector<std::string> kPolicies = {"none", "every", "group", "full"};

std::vector<CostTable> measure_all(Config config) {
  std::vector<CostTable> tables;
  for (int64_t micro = 1; micro <= config.global_sequences; ++micro) {
    if (config.global_sequences % micro != 0) continue;
    print_progress(fmt::format("measuring the stages at a micro-batch of {}", micro));
    config.micro_sequences = micro;
    tables.push_back(measure_costs(config, device_for(config), 1, 1));
  }
  return tables;
}

// The cap that the user gave as checkpointing.budget, or what lets `none` do two sequences at once.
int64_t cap_of(const Config& config, const Options& options, const std::vector<CostTable>& tables) {
  if (const auto given = parse_bytes(config.budget.budget)) return *given;
  if (options.is_gpu()) return int64_t{8} << 30;
  const CostTable& costs = tables[std::min<size_t>(1, tables.size() - 1)];
  return predict(costs, named(costs, "none", 1, SaveLevel::all)).peak_bytes * 21 / 20;
}

JointChoice choose(Config config, const std::vector<CostTable>& tables, int64_t cap) {
  config.checkpointing.policy = "budget";
  config.budget.budget = std::to_string(cap);
  config.micro_sequences = kAuto;
  return choose_jointly(config, 1, 1, nullptr, [&](const Config& candidate) {
    const auto is_same = [&](const CostTable& costs) { return costs.micro_sequences == candidate.micro_sequences; };
    return *std::find_if(tables.begin(), tables.end(), is_same);
  });
}

using IsEligible = std::function<bool(const Cell&)>;

// Of the eligible cells whose measured peak is within the cap: the one with the largest micro-batch, or the fastest.
const Cell* largest(const std::vector<Cell>& cells, int64_t cap, const IsEligible& is_eligible) {
  const Cell* best = nullptr;
  for (const Cell& cell : cells) {
    if (cell.peak_bytes > cap || !is_eligible(cell)) continue;
    if (best == nullptr || cell.micro_sequences > best->micro_sequences) best = &cell;
  }
  return best;
}

const Cell* fastest(const std::vector<Cell>& cells, int64_t cap, const IsEligible& is_eligible) {
  std::vector<const Cell*> eligible;
  for (const Cell& cell : cells) {
    if (is_eligible(cell)) eligible.push_back(&cell);
  }
  return fastest_within(eligible, cap);
}

IsEligible of_policy(const std::string& policy) {
  return [policy](const Cell& cell) { return cell.name == policy; };
}

Figure plot(const std::vector<Cell>& grid, const Cell& joint, int64_t cap, double tokens) {
  Figure figure{.title = "Speed at each micro-batch that fits " + bytes(cap),
                .x_title = "micro-batch (sequences, doubling to the right)",
                .panels = {{.y_title = "training speed (tokens/s)"}}};
  for (const Cell& cell : grid) {
    for (size_t name = figure.x_names.size(); (int64_t{1} << name) <= cell.micro_sequences; ++name) {
      figure.x_names.push_back(std::to_string(int64_t{1} << name));
    }
  }
  const auto point = [&](const Cell& cell) {
    return Point{std::log2(static_cast<double>(cell.micro_sequences)), tokens / cell.median()};
  };
  for (const std::string& policy : kPolicies) {
    Series series{policy, Shape::marked_line};
    for (const Cell& cell : grid) {
      if (cell.name == policy && cell.peak_bytes <= cap) series.points.push_back(point(cell));
    }
    figure.panels[0].series.push_back(series);
  }
  if (joint.peak_bytes <= cap) {
    figure.panels[0].series.push_back({"planner, jointly", Shape::points, {point(joint)}});
  }
  return figure;
}

// Whether the paradox holds, and why not where it does not.
std::string verdict(const std::vector<Cell>& cells, int64_t cap) {
  const Cell* kept = fastest(cells, cap, of_policy("none"));
  if (kept == nullptr) return "keeping everything does not fit at all, so recomputation decides whether training runs";
  const Cell* rival = fastest(cells, cap, [&](const Cell& cell) {
    return cell.name != "none" && cell.micro_sequences > kept->micro_sequences;
  });
  if (rival == nullptr) return "no policy gets a larger micro-batch than keeping everything into this cap";
  const Ratio gain = ratio_to(*rival, *kept);
  const std::string found =
      fmt::format("{} at a micro-batch of {} runs at {:.3f} ± {:.3f} times the speed of keeping everything at {}",
                  rival->name, rival->micro_sequences, gain.median, gain.half_width, kept->micro_sequences);
  if (gain.median - gain.half_width > 1) return found + ": the paradox holds";
  const auto as_small = std::find_if(cells.begin(), cells.end(), [&](const Cell& cell) {
    return cell.name == rival->name && cell.micro_sequences == kept->micro_sequences;
  });
  if (as_small == cells.end()) return found;
  const std::string why = fmt::format(
      "the step from {} to {} sequences makes `{}` {:.3f} times as fast, its replays cost a factor of {:.3f}",
      kept->micro_sequences, rival->micro_sequences, rival->name, ratio_to(*rival, *as_small).median,
      ratio_to(*kept, *as_small).median);
  if (gain.median + gain.half_width < 1) return found + ": not faster here, for " + why;
  return found + ": no difference beyond the spread, for " + why;
}

// The policies at their best within the cap; the same figures into `rows`.
Table contest_table(const std::vector<Cell>& cells, const Cell& joint, int64_t cap, double tokens, Json& rows) {
  Table table{
      fmt::format("The largest micro-batch within {} ({} tokens a step, whatever the micro-batch)", bytes(cap), tokens),
      {"policy", "micro-batch", "peak", "tokens/s", "spread", "fastest micro-batch", "tokens/s"}};
  const auto add = [&](const std::string& name, const Cell& widest, const Cell& quickest) {
    table.rows.push_back({name, std::to_string(widest.micro_sequences), bytes(widest.peak_bytes),
                          format_count(tokens / widest.median()), fmt::format("± {}", percent(widest.spread())),
                          std::to_string(quickest.micro_sequences), format_count(tokens / quickest.median())});
    Json row = json_of(widest, name);
    row["tokens_per_second"] = tokens / widest.median();
    row["fastest_micro_sequences"] = quickest.micro_sequences;
    row["fastest_tokens_per_second"] = tokens / quickest.median();
    rows.push_back(row);
  };
  for (const std::string& policy : kPolicies) {
    const Cell* widest = largest(cells, cap, of_policy(policy));
    if (widest == nullptr) {
      table.rows.push_back({policy, "does not fit", "", "", "", "", ""});
    } else {
      add(policy, *widest, *fastest(cells, cap, of_policy(policy)));
    }
  }
  if (joint.peak_bytes <= cap) add(joint.name, joint, joint);
  return table;
}

}  // namespace

Finding run_paradox(const Options& options) {
  std::vector<std::string> own = {"model.family=gpt2", "checkpointing.group=3", "checkpointing.every=2"};
  const std::vector<std::string> size =
      options.is_gpu() ? std::vector<std::string>{"model.layers=12", "model.width=768", "model.heads=12",
                                                  "model.context=1024", "batch.global_sequences=64"}
                       : std::vector<std::string>{"model.layers=6", "model.width=128", "model.heads=4",
                                                  "model.context=64", "batch.global_sequences=8"};
  own.insert(own.end(), size.begin(), size.end());
  const Config config = configure(options, Objective::next_token, own);
  const std::vector<CostTable> tables = measure_all(config);
  const int64_t cap = cap_of(config, options, tables);
  const JointChoice choice = choose(config, tables, cap);
  Bench bench(config);
  std::vector<Cell> cells;
  for (const CostTable& costs : tables) {
    for (const std::string& policy : kPolicies) {
      const PlannedStep planned = plan_of_policy(config, costs, policy);
      if (planned.predicted.peak_bytes <= cap) cells.push_back(bench.cell(policy, costs, planned.plan));
    }
  }
  cells.push_back(bench.cell("planner, jointly", choice.costs, choice.planned.plan));
  bench.execute(cells, options.rounds_or(7), 2);
  const Cell joint = std::move(cells.back());
  cells.pop_back();

  const double tokens = static_cast<double>(config.global_sequences * config.model.context);
  Finding finding;
  Json rows = Json::array();
  const Table table = contest_table(cells, joint, cap, tokens, rows);
  finding.claim = "with the memory it frees, recomputation fits a larger batch and ends up faster";
  finding.measured = verdict(cells, cap);
  const Cell* best = fastest(cells, cap, [](const Cell&) { return true; });
  if (best != nullptr && joint.peak_bytes <= cap) {
    const Ratio gain = ratio_to(joint, *best);
    finding.notes.push_back(fmt::format(
        "the planner chooses a micro-batch of {} with plan `{}`: {:.3f} ± {:.3f} times the speed of the grid's best "
        "({} at {})",
        joint.micro_sequences, strip_of(joint.planned.plan), gain.median, gain.half_width, best->name,
        best->micro_sequences));
  }
  finding.notes.push_back(
      "the cap: checkpointing.budget=BYTES; only configurations with a measured peak within it count");
  finding.tables = {table};
  finding.figure = plot(cells, joint, cap, tokens);
  finding.numbers = {{"cap_bytes", cap}, {"rows", rows}};
  return finding;
}

}  // namespace reprise::bench
