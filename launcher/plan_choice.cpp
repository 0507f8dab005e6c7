#include "launcher/plan_choice.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>

#include "checkpointing/memory_meter.h"
#include "launcher/device.h"
#include "launcher/host_facts.h"
#include "launcher/units.h"
#include "monitoring/format.h"

namespace reprise {

std::vector<std::string> policy_settings(const std::string& policy) {
  if (policy.empty()) return {};
  const size_t colon = policy.find(':');
  const std::string name = policy.substr(0, colon);
  std::vector<std::string> settings = {"checkpointing.policy=" + name};
  if (colon != std::string::npos) settings.push_back("checkpointing." + name + "=" + policy.substr(colon + 1));
  return settings;
}

std::string* budget_of(Config& config) {
  if (config.checkpointing.policy == "budget") return &config.budget.budget;
  return config.checkpointing.policy == "knapsack" ? &config.budget.knapsack : nullptr;
}

int64_t budget_bytes(const Config& config, const std::string& budget, int local_ranks) {
  if (const auto bytes = parse_bytes(budget)) return *bytes;
  const double share = parse_percent(budget).value();
  if (config.run.device == "cuda") {
    const int index = c10::impl::VirtualGuardImpl(torch::kCUDA).getDevice().index();
    const int sharing = config.distributed.share_device ? local_ranks : 1;
    return static_cast<int64_t>(share * static_cast<double>(describe_device(index).memory_bytes) / sharing);
  }
  const HostFacts host = read_host_facts();
  const uint64_t whole =
      host.cgroup_limit_bytes == 0 ? host.memory_bytes : std::min(host.cgroup_limit_bytes, host.memory_bytes);
  const uint64_t tensors = MemoryMeter::current_bytes();
  const double beside_tensors = static_cast<double>(host.resident_bytes) - static_cast<double>(tensors);
  const double own = static_cast<double>(whole) / local_ranks - std::max(0.0, beside_tensors);
  return static_cast<int64_t>(std::max(0.0, share * own));
}

PlannedStep choose_plan(const Config& config, const CostTable& costs, int local_ranks) {
  const std::string& policy = config.checkpointing.policy;
  const auto within = [&](const std::string& budget, PlannedStep (*planner)(const CostTable&, int64_t)) {
    const int64_t bytes = budget_bytes(config, budget, local_ranks);
    PlannedStep step = planner(costs, bytes);
    step.plan.origin = fmt::format("{}: {}", policy, format_bytes(static_cast<uint64_t>(bytes)));
    return step;
  };
  if (policy == "budget") return within(config.budget.budget, fastest_plan);
  if (policy == "knapsack") return within(config.budget.knapsack, knapsack_plan);
  PlannedStep step;
  if (policy == "greedy") {
    step.plan = greedy_plan(costs, config.budget.greedy_bytes);
    step.plan.origin = "greedy: " + bytes_text(config.budget.greedy_bytes);
  } else {
    step.plan = plan_of(config.checkpointing, shapes_of(costs));
  }
  step.predicted = predict(costs, step.plan);
  return step;
}

std::string what_would_fit(const DoesNotFit& failure, const CostTable& costs, int64_t budget_bytes) {
  const auto text = [](int64_t bytes) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes))); };
  const int64_t smallest = failure.smallest.predicted.peak_bytes;
  std::string sentence = fmt::format(
      "no plan fits {}: the smallest peak possible is {} ({} bytes; {}), of which {} hold "
      "parameters, gradients and moments whatever the plan",
      text(budget_bytes), text(smallest), smallest, strip_of(failure.smallest.plan), text(costs.base_bytes));
  // Bytes beside the base grow at most in proportion to the sequences of a micro-batch; those must divide the share.
  const double per_sequence =
      static_cast<double>(smallest - costs.base_bytes) / static_cast<double>(costs.micro_sequences);
  const int64_t share = costs.micro_sequences * costs.micro_batches;
  for (int64_t fitting = costs.micro_sequences - 1; fitting >= 1; --fitting) {
    if (share % fitting != 0 ||
        static_cast<double>(fitting) * per_sequence > static_cast<double>(budget_bytes - costs.base_bytes))
      continue;
    sentence += fmt::format("; batch.micro_sequences: {} would fit", fitting);
    break;
  }
  return sentence;
}

std::vector<BucketCaps> bucket_caps(const Config& config, bool has_wire) {
  constexpr int64_t kWidest = 64 << 20, kNarrowest = 256 << 10, kFirst = 1 << 20;
  const DistributedSetting& setting = config.distributed;
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(config.precision.reduce));
  std::vector<int64_t> widths;
  for (int64_t bytes = kWidest; bytes >= kNarrowest; bytes /= 2) widths.push_back(bytes);
  if (setting.bucket_bytes != kAuto) widths = {setting.bucket_bytes};
  std::vector<BucketCaps> caps;
  for (const int64_t bytes : widths) {
    std::vector<int64_t> firsts = {setting.first_bucket_bytes};
    if (setting.first_bucket_bytes == kAuto) {
      firsts = {bytes};
      for (const int64_t first : {kFirst, kNarrowest}) {
        if (first < bytes) firsts.push_back(first);
      }
    }
    for (const int64_t first : firsts) caps.push_back({first, bytes, element_bytes});
  }
  if (!has_wire) caps.resize(1);
  return caps;
}

void cut_buckets(CostTable& costs, const FlatLayout& layout, const BucketCaps& caps) {
  costs.buckets.clear();
  for (const Bucket& bucket : make_buckets(layout, caps.first_bytes, caps.bytes, caps.element_bytes)) {
    costs.buckets.push_back({bucket.lowest_point / 2, bucket.highest_point / 2,
                             (bucket.end - bucket.begin) * caps.element_bytes, bucket.lowest_point % 2 == 1});
  }
}

}  // namespace reprise
