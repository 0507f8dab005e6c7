#pragma once

// What the benchmarks of executed plans share: one model whose step many plans take in turn, and their table.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/rehearsal.h"
#include "checkpointing/memory_meter.h"
#include "checkpointing/planner.h"
#include "checkpointing/policies.h"
#include "distributed/ring_communicator.h"
#include "launcher/config.h"
#include "launcher/device_choice.h"

namespace reprise::bench {

using Json = nlohmann::ordered_json;

inline double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// One plan at one micro-batch, what was predicted for it and what came out.
struct Cell {
  std::string name;
  int64_t micro_sequences = 1;
  PlannedStep planned;
  std::unique_ptr<SegmentExecutor> executor;
  std::vector<double> seconds;
  int64_t peak_bytes = 0;

  double median() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double spread() const {  // half the distance of the quartiles, of the median
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return (sorted[sorted.size() * 3 / 4] - sorted[sorted.size() / 4]) / 2 / median();
  }
};

// What a configuration runs on: the CPU unless run.device is cuda, which the process chooses once.
inline DeviceChoice device_for(const Config& config) {
  if (config.run.device != "cuda") return {};
  static const DeviceChoice gpu = [own = config]() mutable { return choose_device(own); }();
  return gpu;
}

// The model that all cells train in turn, on one rank.
class Bench {
 public:
  explicit Bench(const Config& config)
      : config_(config),
        rehearsal_(config.model, config.optimizer, config.global_sequences, config.run.seed, config.compute_type(),
                   device_for(config).device),
        alone_(make_lone_communicator()),
        reducer_(*alone_, rehearsal_.flat().gradients, {{0, rehearsal_.flat().layout.numel, 0, 0}},
                 rehearsal_.model().points(), true) {}

  Cell cell(const std::string& name, const CostTable& costs, Plan plan) {
    Cell cell;
    cell.name = name;
    cell.micro_sequences = costs.micro_sequences;
    cell.planned.predicted = predict(costs, plan);
    cell.planned.plan = plan;
    cell.executor = std::make_unique<SegmentExecutor>(rehearsal_.model(), std::move(plan), config_.run.seed);
    return cell;
  }

  RehearsedStep step(Cell& cell) { return rehearsal_.step(*cell.executor, reducer_, cell.micro_sequences, 1); }

  // Interleaved; the first rounds warm up and do not count.
  void execute(std::vector<Cell>& cells, int rounds, int warm_ups = 1) {
    for (int round = 1 - warm_ups; round <= rounds; ++round) {
      for (Cell& cell : cells) {
        const RehearsedStep taken = step(cell);
        if (round < 1) continue;
        cell.seconds.push_back(taken.step_seconds);
        cell.peak_bytes = std::max(cell.peak_bytes, static_cast<int64_t>(taken.peak_bytes));
      }
      if (round >= 1) fmt::print(stderr, "round {} of {}\n", round, rounds);
    }
  }

  Rehearsal& rehearsal() { return rehearsal_; }

 private:
  const Config& config_;
  Rehearsal rehearsal_;
  std::unique_ptr<Communicator> alone_;
  GradientReducer reducer_;
};

inline Plan named(const CostTable& costs, const std::string& policy, int k, SaveLevel level) {
  PolicySetting setting;
  setting.policy = policy;
  setting.group = setting.every = k;
  setting.save = {level};
  return plan_of(setting, shapes_of(costs));
}

inline int64_t smallest_peak(const CostTable& costs) {
  try {
    fastest_plan(costs, 0);
  } catch (const DoesNotFit& failure) {
    return failure.smallest.predicted.peak_bytes;
  }
  return 0;
}

inline Json json_of(const Cell& cell, const std::string& group) {
  return {{"group", group},
          {"name", cell.name},
          {"micro_sequences", cell.micro_sequences},
          {"planned_peak_bytes", cell.planned.predicted.peak_bytes},
          {"peak_bytes", cell.peak_bytes},
          {"planned_step_seconds", cell.planned.predicted.step_seconds},
          {"step_seconds", cell.median()},
          {"spread", cell.spread()}};
}

inline void print_cell(const Cell& cell) {
  const Prediction& planned = cell.planned.predicted;
  fmt::print("{:<26} {:>3} {:>10.2f} {:>10.2f} {:>7.2f} %  {:>8.1f} {:>8.1f} {:>6.1f} % {:>6.1f} %\n", cell.name,
             cell.micro_sequences, mib(planned.peak_bytes), mib(cell.peak_bytes),
             100.0 * static_cast<double>(planned.peak_bytes - cell.peak_bytes) / static_cast<double>(cell.peak_bytes),
             1e3 * planned.step_seconds, 1e3 * cell.median(), 100 * (planned.step_seconds / cell.median() - 1),
             100 * cell.spread());
}

inline void print_head() {
  fmt::print("{:<26} {:>3} {:>10} {:>10} {:>9}  {:>8} {:>8} {:>8} {:>8}\n", "plan", "B", "peak plan", "measured",
             "over", "ms plan", "measured", "over", "spread");
}

// The fastest measured cell whose measured peak is within `cap`; nullptr: none is.
inline const Cell* fastest_within(const std::vector<const Cell*>& cells, int64_t cap) {
  const Cell* best = nullptr;
  for (const Cell* cell : cells) {
    if (cell->peak_bytes <= cap && (best == nullptr || cell->median() < best->median())) best = cell;
  }
  return best;
}

// Runs `work` on the configuration of the command line, CONFIG [key.sub=value ...], and REPRISE_ROUNDS rounds (9).
inline int run_benchmark(int argc, char** argv, int (*work)(const Config&, int rounds)) {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} CONFIG [key.sub=value ...]\n", argv[0]);
    return 64;
  }
  MemoryMeter::install();
  const char* rounds = std::getenv("REPRISE_ROUNDS");
  try {
    return work(load_config(argv[1], {argv + 2, argv + argc}, false), rounds ? std::atoi(rounds) : 9);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 70;
  }
}

}  // namespace reprise::bench
