#include "benchmarks/overlap_bench.h"

#include <algorithm>
#include <memory>

#include "distributed/agreement.h"
#include "distributed/ring_communicator.h"
#include "launcher/job.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"

namespace reprise {

namespace {

Spread spread_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t count = samples.size();
  return {samples[count / 2], (samples[count * 3 / 4] - samples[count / 4]) / 2};
}

// A policy ready to run, with and without communication.
class Contender {
 public:
  Contender(OverlapRow row, const DistributedSetting& caps, Rehearsal& rehearsal, Communicator& communicator,
            Communicator& nobody, double line_bytes_per_second)
      : row_(std::move(row)),
        communicator_(communicator),
        flat_(rehearsal.flat().gradients),
        buckets_(make_buckets(rehearsal.flat().layout, caps.first_bucket_bytes, caps.bucket_bytes, sizeof(float))),
        executor_(rehearsal.model(), row_.planned.plan, 1),
        off_(nobody, flat_, buckets_, rehearsal.model().points(), true),
        overlapped_(communicator, flat_, buckets_, rehearsal.model().points(), true),
        serial_(communicator, flat_, buckets_, rehearsal.model().points(), false),
        line_(line_bytes_per_second) {}

  void run_round(Rehearsal& rehearsal, int64_t micro_sequences, bool counts) {
    const int ranks = communicator_.size();
    const auto step = [&](GradientReducer& reducer) {
      communicator_.barrier();
      return rehearsal.step(executor_, reducer, micro_sequences, ranks);
    };
    const double cpu_before = other_threads_seconds();
    const RehearsedStep compute = step(off_);
    const double cpu_computing = other_threads_seconds() - cpu_before;  // an OpenMP team's, for instance
    const double alone = sum_alone();
    const double cpu = other_threads_seconds();
    const RehearsedStep overlapped = step(overlapped_);
    const double share = (other_threads_seconds() - cpu - cpu_computing) / overlapped.step_seconds;
    const RehearsedStep serial = step(serial_);
    if (!counts) return;
    const std::vector<double> times =
        largest_figures(communicator_, {compute.step_seconds, alone, overlapped.step_seconds, serial.step_seconds,
                                        share, static_cast<double>(overlapped.peak_bytes)});
    for (size_t i = 0; i < kTimes; ++i) times_[i].push_back(times[i]);
    row_.peak_bytes = std::max(row_.peak_bytes, static_cast<int64_t>(times[5]));
    const double line =
        line_ > 0 ? line_ : static_cast<double>(flat_.numel() * flat_.element_size()) / times[1];  // bytes a second
    after_compute_.push_back(flow_shop(compute, line));
    row_.example = overlapped;
  }

  OverlapRow finish() {
    row_.compute = spread_of(times_[0]);
    row_.alone = spread_of(times_[1]);
    row_.overlapped = spread_of(times_[2]);
    row_.serial = spread_of(times_[3]);
    row_.core_share = spread_of(times_[4]).median;
    row_.bound_seconds = row_.compute.median + largest_figures(communicator_, {spread_of(after_compute_).median})[0];
    return row_;
  }

 private:
  static constexpr size_t kTimes = 5;

  double sum_alone() {
    communicator_.barrier();
    const double started = now_seconds();
    std::vector<std::unique_ptr<Pending>> pending;
    for (const Bucket& bucket : buckets_) {
      pending.push_back(communicator_.start_sum(flat_.narrow(0, bucket.begin, bucket.end - bucket.begin)));
    }
    for (const auto& sum : pending) sum->wait();
    return now_seconds() - started;
  }

  // How much longer than its computing alone this step would take if each bucket left when its gradients were final and
  // the wire, at line rate, cost no computing.
  double flow_shop(const RehearsedStep& step, double line) const {
    const std::vector<double>& done = step.final_seconds;
    double wire = 0, latest = done[0];
    for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
      wire += static_cast<double>(bucket->end - bucket->begin) * sizeof(float) / line;
      latest = std::max(latest, done[static_cast<size_t>(bucket->lowest_point)] + wire);
    }
    return latest - done[0];
  }

  OverlapRow row_;
  Communicator& communicator_;
  torch::Tensor flat_;
  std::vector<Bucket> buckets_;
  SegmentExecutor executor_;
  GradientReducer off_, overlapped_, serial_;
  const double line_;  // bytes a second; 0: what its buckets reach alone
  std::array<std::vector<double>, kTimes> times_;
  std::vector<double> after_compute_;
};

// A row with its plan and buckets, nothing measured yet; leaves the bucket caps in `config`.
OverlapRow choose_row(Config& config, const std::string& policy, int64_t budget_bytes, const CostTable& costs,
                      const FlatLayout& layout, const Communicator& communicator) {
  config = with_policy(config, policy, budget_bytes);
  JointChoice choice = choose_jointly(config, communicator.size(), communicator.local_size(), &layout,
                                      [&](const Config&) { return costs; });
  if (policy == kBudgetWithoutWire) {
    CostTable blind = choice.costs;
    blind.wire.reset();
    choice.planned.plan = fastest_plan(blind, budget_bytes).plan;
    choice.planned.predicted = predict(choice.costs, choice.planned.plan);
  }
  return {.policy = policy, .costs = std::move(choice.costs), .planned = std::move(choice.planned)};
}

// Base and a share of the activation bytes of keeping everything.
int64_t default_budget(const CostTable& costs) {
  constexpr int64_t kPercent = 35;
  const int64_t none = predict(costs, plan_of({.policy = "none"}, shapes_of(costs))).peak_bytes;
  return costs.base_bytes + (none - costs.base_bytes) * kPercent / 100;
}

}  // namespace

Config with_policy(Config config, const std::string& policy, int64_t budget_bytes) {
  const std::string given = policy == kBudgetWithoutWire ? "budget" : policy;
  for (const std::string& setting : policy_settings(given)) read_override(config, setting);
  std::string* budget = budget_of(config);
  if (budget != nullptr && given.find(':') == std::string::npos) *budget = std::to_string(budget_bytes);
  return config;
}

std::vector<OverlapRow> measure_overlap(const Config& config, const DeviceChoice& device, Communicator& communicator,
                                        const OverlapSetting& setting) {
  CostTable costs;
  together(communicator, [&] { costs = cached_costs(config, device, communicator.size(), 4, [] {}); });
  take_worst(communicator, costs);
  if (communicator.size() > 1) costs.wire = fit_wire(communicator, device.device);
  Rehearsal rehearsal(config.model, config.optimizer, config.global_sequences / communicator.size(), config.run.seed,
                      config.compute_type(), device.device);
  const FlatLayout& layout = rehearsal.flat().layout;
  const std::unique_ptr<Communicator> nobody = make_lone_communicator();
  const int64_t budget = setting.budget_bytes > 0 ? setting.budget_bytes : default_budget(costs);

  std::vector<std::unique_ptr<Contender>> contenders;
  for (const std::string& policy : setting.policies) {
    Config own = config;
    OverlapRow row = choose_row(own, policy, budget, costs, layout, communicator);
    contenders.push_back(std::make_unique<Contender>(std::move(row), own.distributed, rehearsal, communicator, *nobody,
                                                     setting.line_bytes_per_second));
  }
  for (int round = -1; round < setting.rounds; ++round) {  // the first warms up
    for (const auto& contender : contenders) contender->run_round(rehearsal, config.micro_sequences, round >= 0);
  }
  std::vector<OverlapRow> rows;
  for (const auto& contender : contenders) rows.push_back(contender->finish());
  return rows;
}

}  // namespace reprise
