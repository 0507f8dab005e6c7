#pragma once

#include <string_view>

namespace reprise {

enum class MetricType { counter, gauge, histogram };

// A metric that a rank serves, as Prometheus is told and docs/metrics.md lists it.
struct Metric {
  std::string_view name;
  MetricType type;
  std::string_view unit;
  std::string_view label;  // beside run and rank: "phase"; "" for none, several for the two that only carry facts
  std::string_view help;
};

using enum MetricType;
inline constexpr Metric kMetrics[] = {
    {"reprise_step_duration_seconds", histogram, "seconds", "", "Wall-clock of a step on this rank"},
    {"reprise_phase_seconds_total", counter, "seconds", "phase",
     "Wall-clock by disjoint phase: data, forward, recompute, backward, comm_exposed (waits for gradients that nothing "
     "hides), optimizer and other sum to the steps; snapshot: saves that training waits for between steps"},
    {"reprise_steps_total", counter, "steps", "", "Optimizer steps since the start, skipped ones included"},
    {"reprise_tokens_total", counter, "tokens", "", "Targets of the global batches; the same on every rank"},
    {"reprise_skipped_steps_total", counter, "steps", "reason",
     "Steps without an update. overflow: of a scaled loss, a part of the search for its scale; non_finite: the "
     "gradient; spike: its norm far over the median"},
    {"reprise_loss", gauge, "nats", "", "Mean negative log-likelihood of the last global batch; equal on every rank"},
    {"reprise_validation_loss", gauge, "nats", "", "The same over the held-out targets"},
    {"reprise_gradient_norm", gauge, "1", "", "Of the last step's global gradient, before clipping"},
    {"reprise_learning_rate", gauge, "1", "", "Of the last step"},
    {"reprise_loss_scale", gauge, "1", "", "What the last gradients were formed too large by; 1 without loss scaling"},
    {"reprise_model_flops_utilization_ratio", gauge, "ratio", "",
     "MFU of the last step: the model's FLOP, recomputation not counted, over what the device's dense peak would have "
     "done; absent where that peak is not known, as on a CPU"},
    {"reprise_memory_bytes", gauge, "bytes", "kind",
     "Of this rank's tensors. peak: highest in the last step; planned_peak: as predicted, where it was; allocated: at "
     "the step's end; reserved: that and what a device's allocator holds beside, absent on a CPU; parameters, "
     "gradients, optimizer: the flat tensors of each; activations: the peak less allocated"},
    {"reprise_memory_budget_bytes", gauge, "bytes", "",
     "For this rank's tensors: the policy's budget; without one this rank's share of the memory there is"},
    {"reprise_allreduce_bytes_total", counter, "bytes", "",
     "Gradients summed over the ranks, as they travel (algorithm bytes of nccl-tests); 0 with one rank"},
    {"reprise_allreduce_seconds_total", counter, "seconds", "", "Time with at least one bucket on the wire"},
    {"reprise_overlap_ratio", gauge, "ratio", "",
     "Share of the last step's time on the wire that computing hid; absent when nothing was on it"},
    {"reprise_recompute_ratio", gauge, "ratio", "", "Share of the last step that replayed segments"},
    {"reprise_last_step_timestamp_seconds", gauge, "seconds since 1970", "", "When the last step ended"},
    {"reprise_snapshot_last_success_timestamp_seconds", gauge, "seconds since 1970", "",
     "When the newest snapshot of this start was known to be durable"},
    {"reprise_snapshot_seconds", gauge, "seconds", "", "From its step's end until that snapshot was durable"},
    {"reprise_snapshots_total", counter, "snapshots", "result", "Snapshots: saved, or dropped as they could not be"},
    {"reprise_restarts_total", counter, "starts", "", "Starts of this run before this one"},
    {"reprise_build_info", gauge, "1", "version, commit, libtorch, cuda, nccl, mpi", "What runs; empty: none of it"},
    {"reprise_rank_info", gauge, "1", "host, local_rank, device, uuid",
     "Where; uuid: of the rank's GPU as the DCGM exporter writes it, empty on a CPU"},
    {"process_start_time_seconds", gauge, "seconds since 1970", "", "When this rank's process started"},
};

// A row by its name; a name that is not there does not compile.
struct MetricName {
  consteval MetricName(const char* name) {
    while (kMetrics[row].name != name) ++row;
  }
  const Metric& metric() const { return kMetrics[row]; }
  int row = 0;
};

}  // namespace reprise
