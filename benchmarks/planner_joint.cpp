// The joint choice of micro-batch and plan under six caps against every cell of micro-batch × {none, every: 2, every:
// 4, full}, executed interleaved on one model, one rank, random tokens. planner_joint CONFIG [key.sub=value ...] prints
// a table and one JSON document as the last line.

#include <cmath>

#include "benchmarks/executed.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"

namespace reprise::bench {
namespace {

std::vector<CostTable> measure_all(Config config) {
  std::vector<CostTable> tables;
  for (int64_t micro = 1; micro <= config.global_sequences; ++micro) {
    if (config.global_sequences % micro != 0) continue;
    config.micro_sequences = micro;
    tables.push_back(measure_costs(config, {}, 1, 3));
  }
  return tables;
}

int compare_joint(const Config& config, int rounds) {
  const std::vector<CostTable> tables = measure_all(config);
  Bench bench(config);
  std::vector<Cell> cells;
  for (const CostTable& costs : tables) {
    cells.push_back(bench.cell("none", costs, named(costs, "none", 1, SaveLevel::all)));
    cells.push_back(bench.cell("every: 2", costs, named(costs, "every", 2, SaveLevel::all)));
    cells.push_back(bench.cell("every: 4", costs, named(costs, "every", 4, SaveLevel::all)));
    cells.push_back(bench.cell("full", costs, named(costs, "full", 1, SaveLevel::all)));
  }
  const size_t fixed = cells.size();
  int64_t low = INT64_MAX, high = 0;
  for (const Cell& cell : cells) {
    low = std::min(low, cell.planned.predicted.peak_bytes);
    high = std::max(high, cell.planned.predicted.peak_bytes);
  }
  constexpr int kCaps = 6;  // evenly by ratio: doubled micro-batches double the bytes
  std::vector<int64_t> caps;
  for (int i = 0; i < kCaps; ++i) {
    const double share = static_cast<double>(i) / (kCaps - 1);
    caps.push_back(static_cast<int64_t>(static_cast<double>(low) *
                                        std::pow(static_cast<double>(high) / static_cast<double>(low), share)) +
                   1);
    Config own = config;
    own.checkpointing.policy = "budget";
    own.budget.budget = std::to_string(caps.back());
    own.micro_sequences = kAuto;
    const JointChoice choice = choose_jointly(own, 1, 1, nullptr, [&](const Config& candidate) {
      const auto is_same = [&](const CostTable& costs) { return costs.micro_sequences == candidate.micro_sequences; };
      return *std::find_if(tables.begin(), tables.end(), is_same);
    });
    cells.push_back(
        bench.cell(fmt::format("auto within {:.1f} MiB", mib(caps.back())), choice.costs, choice.planned.plan));
  }
  bench.execute(cells, rounds);
  print_head();
  Json rows = Json::array();
  std::vector<const Cell*> grid;
  for (size_t i = 0; i < cells.size(); ++i) {
    print_cell(cells[i]);
    rows.push_back(json_of(cells[i], i < fixed ? "grid" : "auto"));
    if (i < fixed) grid.push_back(&cells[i]);
  }
  double sum = 0, worst = 10;
  for (int i = 0; i < kCaps; ++i) {
    const Cell* fits = fastest_within(grid, caps[static_cast<size_t>(i)]);
    if (fits == nullptr) throw std::runtime_error("a cell holds more than was planned for it");
    const Cell& best = *fits;
    const Cell& chosen = cells[fixed + static_cast<size_t>(i)];
    const double gain = best.median() / chosen.median();
    fmt::print("{:<26} best cell: {} at {}; {:.3f} times its tokens per second\n", chosen.name, best.name,
               best.micro_sequences, gain);
    sum += gain;
    worst = std::min(worst, gain);
  }
  const Json figures{{"gain_mean", sum / kCaps}, {"gain_worst", worst}};
  fmt::print("gain over the best cell that fits: mean {:.3f}, worst {:.3f}\n", sum / kCaps, worst);
  fmt::print("{}\n", Json{{"figures", figures}, {"rows", rows}}.dump());
  return 0;
}

}  // namespace
}  // namespace reprise::bench

int main(int argc, char** argv) { return reprise::bench::run_benchmark(argc, argv, reprise::bench::compare_joint); }
