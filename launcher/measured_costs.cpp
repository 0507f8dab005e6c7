#include "launcher/measured_costs.h"

#define XXH_INLINE_ALL
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>

#include "checkpointing/profiler.h"
#include "checkpointing/step_record.h"
#include "distributed/agreement.h"
#include "launcher/build_facts.h"
#include "launcher/cost_file.h"
#include "launcher/device.h"
#include "launcher/host_facts.h"
#include "launcher/plan_choice.h"
#include "launcher/spelling.h"
#include "monitoring/step_report.h"
#include "training/errors.h"
#include "training/file_system.h"
#include "training/flat_model.h"
#include "training/snapshot_writer.h"

namespace reprise {

namespace {

namespace fs = std::filesystem;

// The model with two layers: has every kind of stage that the whole one has, and weights that leave the caches between
// two uses as they do in a step.
ModelConfig sample_of(const Config& config) {
  ModelConfig model = config.model;
  model.layers = std::min(model.layers, 2);
  return model;
}

double update_seconds(const FlatModel& flat, const OptimizerSetting& setting) {
  AdamW optimizer(flat.parameters, flat.gradients, flat.ranges, setting, flat.computed);
  std::vector<double> seconds;
  for (int round = -1; round < 5; ++round) {  // the first warms up
    const Moment start(flat.parameters.device());
    flat.gradients.zero_();  // the step begins with it
    optimizer.step(setting.learning_rate, optimizer.check_and_clip());
    const double ended = Moment(flat.parameters.device()).seconds(start);
    if (round >= 0) seconds.push_back(ended - start.seconds(start));
  }
  return median(std::move(seconds));
}

std::string processor_of(torch::Device device) {
  if (!device.is_cpu()) return describe_device(device.index()).name;
  return fmt::format("{}, {} threads", read_host_facts().processor, at::get_num_threads());
}

CostTable measure_sample(const Config& config, torch::Device device, double seconds) {
  StageChain model(sample_of(config));
  FlatModel flat(model, true, config.compute_type(), device);
  flat.initialize(model, config.run.seed);
  CostTable costs = profile(model, {config.micro_sequences, config.model.context, config.run.seed, seconds});
  costs.device = processor_of(device);
  flat.gradients.zero_();
  costs.optimizer_seconds = update_seconds(flat, config.optimizer);
  return costs;
}

std::string kind_of(const std::string& stage_name) { return stage_name.substr(stage_name.rfind('.') + 1); }

std::vector<StageCost> stages_of(const CostTable& sample, const StageChain& model) {
  std::vector<StageCost> stages;
  for (int s = 0; s < model.size(); ++s) {
    const auto same_kind = [&](const StageCost& cost) { return kind_of(cost.name) == kind_of(model[s].name); };
    StageCost cost = *std::find_if(sample.stages.begin(), sample.stages.end(), same_kind);
    cost.name = model[s].name;
    cost.layer = model[s].layer;
    stages.push_back(std::move(cost));
  }
  return stages;
}

// From the measured layers to the whole model.
CostTable expand(CostTable costs, const Config& config, const DeviceChoice& choice, int ranks) {
  const StageChain model(config.model), sample(sample_of(config));
  const FlatLayout layout = layout_of(model);
  check_batch(config, ranks);
  costs.stages = stages_of(costs, model);
  costs.micro_sequences = config.micro_sequences;
  costs.tokens = config.micro_sequences * config.model.context;
  costs.micro_batches = config.global_sequences / (config.micro_sequences * ranks);
  costs.optimizer_seconds *= static_cast<double>(layout.numel) / static_cast<double>(layout_of(sample).numel);
  // Parameters, gradients and two moments; the optimizer's count; the loss so far; targets of this micro-batch and both
  // tensors of the one read ahead.
  // A regression's tokens are real vectors, and its input stage's are counted as the first layer's input already.
  const bool is_regression = config.model.objective == Objective::regression;
  const int64_t token_tensors = is_regression ? 2 : 3;
  const auto real_bytes = config.model.width * static_cast<int64_t>(c10::elementSize(config.compute_type()));
  const int64_t token_bytes = is_regression ? real_bytes : static_cast<int64_t>(sizeof(int64_t));
  constexpr int64_t kFlatTensors = 4;
  costs.base_bytes += (kFlatTensors * layout.numel + 1) * static_cast<int64_t>(sizeof(float));
  if (config.precision.scales_loss) costs.base_bytes += 2 * static_cast<int64_t>(sizeof(float));  // scale and count
  for (const torch::Dtype copy : {config.compute_type(), config.precision.reduce}) {
    if (copy != torch::kFloat32) costs.base_bytes += layout.numel * static_cast<int64_t>(c10::elementSize(copy));
  }
  costs.base_bytes += static_cast<int64_t>(sizeof(double)) + choice.library_bytes;
  costs.base_bytes += token_tensors * costs.tokens * token_bytes;
  const bool copies_to_host = config.snapshot.every_steps > 0;
  if (copies_to_host && choice.device.is_cpu()) costs.base_bytes += SnapshotWriter::host_bytes(layout, ranks);
  cut_buckets(costs, layout, bucket_caps(config, false).front());
  return costs;
}

// Everything that the measured figures depend on.
fs::path cache_file(const Config& config, torch::Device device) {
  const ModelConfig& model = config.model;
  const std::string facts = fmt::format(
      "{} {} {} {} {} {} {} {} {} {} {} {} | {} {} | {} | {} {} {} {}", name_of(model.family), sample_of(config).layers,
      model.width, model.heads, model.kv_heads, model.feed_forward, model.context, model.dropout > 0, model.vocabulary,
      model.tie_embeddings, model.head_chunk_tokens, model.rope_theta, config.micro_sequences, config.precision.compute,
      processor_of(device), kVersion, kCommit, kBuildType, kLibTorch);
  const char* cache = std::getenv("REPRISE_CACHE");
  const char* home = std::getenv("HOME");
  const fs::path root = cache ? fs::path(cache) : fs::path(home ? home : ".") / ".cache" / "reprise";
  return root / "costs" / fmt::format("{:016x}.json", XXH3_64bits(facts.data(), facts.size()));
}

double thread_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Seconds of a sum, one of `count` that are queued together, and the share of them that the main thread, which computes
// meanwhile as in a step, waits for a core; on a device nothing computes. The slowest rank's medians of three rounds;
// where nobody knows yet how long they all take, of one in which nothing computes.
struct TimedSum {
  double seconds = 0, compute_share = 0;
};
TimedSum time_sums(Communicator& communicator, torch::Device device, int64_t bytes, int count,
                   double expected_seconds = 0) {
  constexpr double kOutlast = 1.2;  // of what is expected, then of the round before
  torch::Tensor flat = torch::zeros({count, bytes / static_cast<int64_t>(sizeof(float))}, device);
  torch::Tensor work = torch::ones({4096});  // stays in the first cache
  std::vector<double> seconds, shares;
  for (int round = expected_seconds > 0 ? 3 : 1; round > 0; --round) {
    std::vector<std::unique_ptr<Pending>> pending;
    for (int i = 0; i < count; ++i) pending.push_back(communicator.start_sum(flat[i]));
    const double started = steady_seconds(), computed = thread_cpu_seconds();
    while (device.is_cpu() && steady_seconds() < started + kOutlast * expected_seconds) work.mul_(1);
    const double took = steady_seconds() - started, without_core = took - (thread_cpu_seconds() - computed);
    for (const auto& sum : pending) sum->wait();
    const double last = pending.back()->interval().finished_seconds - pending.front()->interval().enqueued_seconds;
    seconds.push_back(last / count);
    shares.push_back(device.is_cpu() ? std::clamp(without_core / last, 0.0, 1.0) : 0);
    expected_seconds = last;
  }
  const std::vector<double> largest = largest_figures(communicator, {median(seconds), median(shares)});
  return {largest[0], largest[1]};
}

}  // namespace

void check_batch(const Config& config, int ranks) {
  const int64_t micro = config.micro_sequences == kAuto ? 1 : config.micro_sequences, at_once = micro * ranks;
  if (config.global_sequences % at_once == 0) return;
  throw wrong_value("batch.global_sequences",
                    fmt::format("a multiple of micro_sequences × ranks = {} × {}", micro, ranks),
                    std::to_string(config.global_sequences),
                    std::to_string(std::max<int64_t>(1, (config.global_sequences + at_once / 2) / at_once) * at_once));
}

CostTable measure_costs(const Config& config, const DeviceChoice& choice, int ranks, double seconds) {
  return expand(measure_sample(config, choice.device, seconds), config, choice, ranks);
}

CostTable cached_costs(const Config& config, const DeviceChoice& choice, int ranks, double seconds,
                       const std::function<void()>& announce) {
  const fs::path file = cache_file(config, choice.device);
  try {
    return expand(read_costs(file.string()), config, choice, ranks);
  } catch (const DataError&) {
    // Not there yet, or damaged: measured anew below.
  }
  announce();
  const CostTable costs = measure_sample(config, choice.device, seconds);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  try {
    write_durably(file.string(), format_costs(costs));
  } catch (const StorageError&) {
    // A cache that cannot be written costs time at the next call, nothing else.
  }
  return expand(costs, config, choice, ranks);
}

WireModel fit_wire(Communicator& communicator, torch::Device device) {
  // Short sums in a row, for what each costs beside its bytes; then one so long, found by doubling, that bytes are all.
  constexpr int64_t kShortBytes = 64 << 10, kLongestBytes = 16 << 20;
  constexpr int kInARow = 16;
  constexpr double kLongSeconds = 0.08;
  const double warm_up = kInARow * time_sums(communicator, device, kShortBytes, kInARow).seconds;
  const double short_seconds = time_sums(communicator, device, kShortBytes, kInARow, warm_up).seconds;
  int64_t long_bytes = kShortBytes;
  double expected = 0;
  while (long_bytes < kLongestBytes && expected < kLongSeconds) {
    expected = time_sums(communicator, device, long_bytes *= 2, 1).seconds;
  }
  const TimedSum longest = time_sums(communicator, device, long_bytes, 1, expected);
  // At least half of the long sum is bytes: on a busy machine the difference of two times may come out as nothing.
  const double per_byte = std::max((longest.seconds - short_seconds) / static_cast<double>(long_bytes - kShortBytes),
                                   0.5 * longest.seconds / static_cast<double>(long_bytes));
  return {std::max(0.0, short_seconds - per_byte * kShortBytes), 1 / per_byte, longest.compute_share};
}

void take_worst(Communicator& communicator, CostTable& costs) {
  std::vector<double*> times = {&costs.optimizer_seconds};
  std::vector<int64_t*> bytes = {&costs.base_bytes};
  for (StageCost& stage : costs.stages) {
    times.insert(times.end(),
                 {&stage.forward_seconds, &stage.early_stop_seconds, &stage.backward_seconds, &stage.late_seconds});
    bytes.push_back(&stage.boundary_bytes);
    for (SaveCost& save : stage.saves) {
      times.push_back(&save.extra_seconds);
      bytes.insert(bytes.end(), {&save.kept_bytes, &save.forward_workspace_bytes, &save.backward_workspace_bytes});
    }
  }
  std::vector<double> own;
  for (const double* time : times) own.push_back(*time);
  for (const int64_t* count : bytes) own.push_back(static_cast<double>(*count));  // exact below 2^53
  const std::vector<double> largest = largest_figures(communicator, own);
  for (size_t i = 0; i < times.size(); ++i) *times[i] = largest[i];
  for (size_t i = 0; i < bytes.size(); ++i) *bytes[i] = static_cast<int64_t>(largest[times.size() + i]);
}

}  // namespace reprise
