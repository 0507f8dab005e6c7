#include "training/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "checkpointing/memory_meter.h"
#include "distributed/agreement.h"
#include "training/errors.h"
#include "training/replica_check.h"

namespace reprise {
namespace {

constexpr size_t kRememberedSteps = 32;
constexpr double kPatience = 10;     // a start, a first step, an evaluation or a save may take so many deadlines
constexpr double kStepPatience = 5;  // and a step so many median steps

const char* name_of(Phase phase) {
  static constexpr std::array kNames{"between two stages", "forward",   "recompute", "backward",   "data",
                                     "gradient sums",      "optimizer", "report",    "evaluation", "save"};
  return kNames.at(static_cast<size_t>(phase));
}

}  // namespace

std::string describe_position(uint64_t position, const StageChain& model) {
  if (position == 0) return "start";
  const auto phase = static_cast<Phase>(position >> 16 & 0xff);
  const bool is_of_stage = phase >= Phase::forward && phase <= Phase::backward;
  const auto stage = static_cast<int>(position & 0xffff);
  if (phase > Phase::save || (is_of_stage && stage >= model.size())) return "a place unknown here";
  return fmt::format("step {}, {}{}", (position >> 24) + 1, name_of(phase),
                     is_of_stage ? " of " + model[stage].name : "");
}

Trainer::Trainer(StageChain& model, FlatModel& flat, Plan plan, Communicator& communicator, const TokenShards& shards,
                 TrainerSetting setting)
    : model_(model),
      parameters_(flat.parameters),
      communicator_(communicator),
      setting_(setting),
      device_(model.device()),
      micro_scale_(1.0 / static_cast<double>(setting.global_sequences * model.config().context)),
      buckets_(make_buckets(flat.layout, setting.first_bucket_bytes, setting.bucket_bytes,
                            static_cast<int64_t>(c10::elementSize(setting.precision.reduce)))),
      executor_(model, std::move(plan), setting.seed),
      reducer_(communicator, flat.gradients, buckets_, model.points(), setting.overlap, setting.precision.reduce),
      optimizer_(flat.parameters, flat.gradients, flat.ranges, setting.optimizer, flat.computed),
      scaler_(setting.precision.scales_loss, device_),
      skips_(setting.skips),
      loss_scale_(scaler_.read()),
      data_(shards, {.global_sequences = setting.global_sequences,
                     .micro_sequences = setting.micro_sequences,
                     .context = model.config().context,
                     .vocabulary = model.config().vocabulary,
                     .rank = communicator.rank(),
                     .ranks = communicator.size(),
                     .seed = setting.seed,
                     .device = device_}),
      reduce_when_final_([this](int point) { reducer_.point_final(point); }),
      keep_accumulating_([](int) {}) {
  executor_.record().tell_moves_to([this](uint64_t word) { communicator_.pulse().move_to(word); });
  executor_.verify_replays({setting.verify_every, data_.micro_batches(), communicator.describe(communicator.rank())});
}

StepReport Trainer::step() {
  const Moment started(device_);
  MemoryMeter::reset_peak();
  communicator_.set_wait_limit(wait_limit(), fmt::format("step {}", step_ + 1));
  executor_.begin_step(step_);
  loss_sum_ = torch::zeros({}, torch::TensorOptions(device_).dtype(torch::kFloat64));
  data_seconds_ = 0;

  reducer_.begin_step();  // zeroes the flat gradients
  for (int64_t micro = 0; micro < data_.micro_batches(); ++micro) {
    const bool last = micro + 1 == data_.micro_batches();
    move_to(Phase::data);
    const double asked = now_seconds();
    const Batch batch = data_.next();
    data_seconds_ += now_seconds() - asked;
    loss_sum_ += executor_.run(batch, micro_scale_ * loss_scale_, last ? reduce_when_final_ : keep_accumulating_);
  }
  move_to(Phase::reduce);
  reducer_.finish();  // gradients are now sums over all ranks and micro-batches
  move_to(Phase::optimizer);
  const Moment check_started(device_);
  const GradientCheck check = optimizer_.check_and_clip(scaler_.scale(), skips_.norm_limit());  // equal on every rank
  optimizer_.step(learning_rate_at(setting_.optimizer, step_, setting_.steps), check);
  scaler_.update(check.non_finite);
  // The step ends here; the rest is reporting.
  return report(check, started, check_started, Moment(device_));
}

StepReport Trainer::report(const GradientCheck& check, const Moment& started, const Moment& check_started,
                           const Moment& ended) {
  const double ended_seconds = [&] {
    const PulseWait waiting(communicator_.pulse());
    return ended.seconds(started);  // here the host waits for a device
  }();
  move_to(Phase::report);
  const StepRecord& record = executor_.record();
  StepReport report;
  report.learning_rate = learning_rate_at(setting_.optimizer, step_, setting_.steps);
  report.samples = {step_ * setting_.global_sequences, (step_ + 1) * setting_.global_sequences - 1};
  report.step = ++step_;
  report.grad_norm = check.norm.item<double>();
  report.skipped = check.found_inf.item<double>() != 0;
  report.loss_scale = std::exchange(loss_scale_, scaler_.read());
  if (report.skipped) {
    const bool is_spike = std::isfinite(report.grad_norm);
    report.skip_reason = is_spike ? "spike" : report.loss_scale > 1 ? "overflow" : "non_finite";
  }
  skips_.note(report);
  report.tokens = setting_.global_sequences * model_.config().context;
  report.start_seconds = started.seconds(started);
  report.step_seconds = ended_seconds - report.start_seconds;
  report.data_seconds = data_seconds_;
  report.forward_seconds = record.seconds(EventKind::forward);
  report.recompute_seconds = record.seconds(EventKind::recompute);
  report.backward_seconds = record.seconds(EventKind::backward);
  report.optimizer_seconds = ended_seconds - check_started.seconds(started);
  report.comm_seconds = reducer_.times().comm_seconds;
  report.comm_exposed_seconds = reducer_.times().exposed_seconds;
  const auto travels = static_cast<int64_t>(c10::elementSize(setting_.precision.reduce));
  if (communicator_.size() > 1) report.comm_bytes = parameters_.numel() * travels;
  report.other_seconds = report.step_seconds - report.data_seconds - report.forward_seconds - report.recompute_seconds -
                         report.backward_seconds - report.optimizer_seconds - report.comm_exposed_seconds;
  report.allocated_bytes = MemoryMeter::current_bytes();
  report.peak_bytes = MemoryMeter::peak_bytes();  // read second: never the smaller one
  report.idle_bytes = MemoryMeter::idle_bytes();

  share_figures(report);

  if (step_seconds_.size() == kRememberedSteps) step_seconds_.erase(step_seconds_.begin());
  step_seconds_.push_back(report.step_seconds);
  return report;
}

// One small sum carries the loss, how many ranks want to stop and, a row a rank, what is compared between ranks.
void Trainer::share_figures(StepReport& report) {
  const double compute =
      report.forward_seconds + report.recompute_seconds + report.backward_seconds + report.optimizer_seconds;
  const bool is_due = compares_replicas() && step_ % setting_.compare_every == 0;
  const std::vector<double> hash = is_due ? replica_hash(states()) : std::vector<double>{0, 0};
  const auto peak = static_cast<double>(report.peak_bytes);
  const std::vector<double> own = {
      peak, report.step_seconds, report.data_seconds, compute, report.comm_exposed_seconds, hash[0], hash[1]};
  torch::Tensor figures = torch::zeros({2 + communicator_.size() * std::ssize(own)}, torch::kFloat64);
  figures[0] = loss_sum_;
  figures[1] = setting_.wants_stop && setting_.wants_stop() ? 1.0 : 0.0;
  const torch::Tensor by_rank = figures.slice(0, 2).view({communicator_.size(), std::ssize(own)});
  by_rank[communicator_.rank()].copy_(torch::tensor(own, torch::kFloat64));
  communicator_.start_sum(figures)->wait();
  const auto spread = [&](int64_t column) {
    const torch::Tensor values = by_rank.select(1, column).contiguous();
    return spread_of({values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()});
  };
  report.loss = figures[0].item<double>() / static_cast<double>(report.tokens);
  report.stop_wanted = figures[1].item<double>() > 0;
  report.peak_bytes_max = static_cast<uint64_t>(spread(0).max);
  report.rank_step = spread(1);
  report.rank_data = spread(2);
  report.rank_compute = spread(3);
  report.rank_wait = spread(4);
  divergence_ = divergence(communicator_, step_, by_rank.slice(1, 5));
}

void Trainer::require_equal_replicas() const {
  if (!compares_replicas()) return;
  const std::string found = divergence(communicator_, step_, gather_figures(communicator_, replica_hash(states())));
  if (!found.empty()) throw ReplicasDiverged(found);
}

void Trainer::require_sound(const StepReport& report) const {
  if (!divergence_.empty()) throw ReplicasDiverged(divergence_);
  if (!skips_.must_stop(report)) return;
  require_equal_replicas();  // a flipped bit may well be the cause
  throw TrainingStopped(skips_.describe(report));
}

std::vector<FlatState> Trainer::states() const {
  return {{"parameters", parameters_},
          {"first_moment", optimizer_.first_moment()},
          {"second_moment", optimizer_.second_moment()}};
}

Progress Trainer::progress() const {
  return {step_, optimizer_.updates(), scaler_.read(), scaler_.good_updates(), skips_.memory()};
}

void Trainer::resume(const Progress& progress) {
  step_ = progress.step;
  optimizer_.resume(progress.updates);
  scaler_.resume(progress.loss_scale, progress.good_updates);
  skips_.resume(progress.skips);
  loss_scale_ = scaler_.read();
  data_.seek(step_);
}

EvaluationReport Trainer::evaluate(const TokenShards& shards, int64_t most_windows) {
  const double started = now_seconds();
  expect_long_wait(Phase::evaluation);
  const ModelConfig& config = model_.config();
  const int64_t available = shards.windows(config.context + 1);
  const int64_t windows = most_windows > 0 ? std::min(most_windows, available) : available;
  const int64_t ranks = communicator_.size();
  std::vector<int64_t> mine;
  for (int64_t w = communicator_.rank(); w < windows; w += ranks) mine.push_back(w * available / windows);

  torch::Tensor sum = torch::zeros({1}, torch::TensorOptions(device_).dtype(torch::kFloat64));
  const auto most = static_cast<size_t>(setting_.micro_sequences);
  for (size_t at = 0; at < mine.size(); at += most) {
    move_to(Phase::evaluation);
    const size_t count = std::min(most, mine.size() - at);
    torch::Tensor window = torch::empty({static_cast<int64_t>(count), config.context + 1}, torch::kInt64);  // (B, T+1)
    for (size_t i = 0; i < count; ++i) {
      shards.read_window(mine[at + i], config.context + 1, config.vocabulary,
                         window[static_cast<int64_t>(i)].mutable_data_ptr<int64_t>());
    }
    const Batch batch{.tokens = window.narrow(1, 0, config.context).contiguous(),
                      .targets = window.narrow(1, 1, config.context).contiguous()};
    sum += executor_.evaluate(on_device(batch, device_)).to(torch::kFloat64);
  }
  sum = sum.cpu();
  communicator_.start_sum(sum)->wait();
  const int64_t tokens = windows * config.context;
  return {.step = step_,
          .loss = sum.item<double>() / static_cast<double>(tokens),
          .tokens = tokens,
          .seconds = now_seconds() - started};
}

void Trainer::expect_long_wait(Phase phase, double at_least_seconds) const {
  move_to(phase);
  communicator_.set_wait_limit(std::max({kPatience * setting_.deadline_seconds, wait_limit(), at_least_seconds}),
                               name_of(phase));
}

void Trainer::move_to(Phase phase) const {
  communicator_.pulse().move_to(static_cast<uint64_t>(step_) << 24 | static_cast<uint64_t>(phase) << 16);
}

double Trainer::wait_limit() const {
  if (step_seconds_.empty()) return kPatience * setting_.deadline_seconds;
  return std::max(setting_.deadline_seconds, kStepPatience * median(step_seconds_));
}

}  // namespace reprise
