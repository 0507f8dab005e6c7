#include "launcher/train_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "distributed/agreement.h"
#include "launcher/build_facts.h"
#include "launcher/device_choice.h"
#include "launcher/drawings.h"
#include "launcher/job.h"
#include "launcher/measured_costs.h"
#include "launcher/run_directory.h"
#include "launcher/run_plan.h"
#include "launcher/run_snapshots.h"
#include "launcher/run_trace.h"
#include "launcher/vigil.h"
#include "monitoring/console.h"
#include "monitoring/json_lines.h"
#include "monitoring/prometheus_exporter.h"
#include "training/errors.h"

namespace reprise {
namespace {

constexpr double kStartPatience = 10;  // the start may take so many deadlines

using Sinks = std::vector<std::unique_ptr<Sink>>;

// 6·N for the parameters that take part in matrix products and 6·L·C·T for causal attention; recomputation is not
// counted.
double flops_per_token(const StageChain& model) {
  const ModelConfig& config = model.config();
  return 6.0 * static_cast<double>(model.parameters().count()) +
         6.0 * static_cast<double>(config.layers * config.width * config.context);
}

// One rank of a run: built in order, destroyed in reverse.
class RankRun {
 public:
  RankRun(Config config, Communicator& communicator, const DeviceChoice& device, StopRequest& stop)
      : config_(std::move(config)),
        communicator_(communicator),
        device_(device),
        stop_(stop),
        model_(config_.model),
        disk_seconds_(longest_disk_seconds(config_, layout_of(model_))),
        vigil_(communicator_, stop_, config_, model_) {
    communicator_.set_wait_limit(std::max(kStartPatience * config_.distributed.deadline_seconds, disk_seconds_),
                                 "start");
  }

  ExitCode run() {
    try {
      prepare();
      announce();
      return train_and_save();
    } catch (const PeerLost&) {
      vigil_.leave_it_to_collectors();
      throw;
    } catch (...) {
      vigil_.leave();
      const Failure failure = describe_failure(std::current_exception());
      if (failure.code != kDoesNotFit || !trainer_) throw;
      const std::string rank = communicator_.describe(communicator_.rank());
      throw NothingFits(explain_memory(choice_, rank, trainer_->steps_done() + 1, failure.message), 0);
    }
  }

 private:
  ExitCode train_and_save() {
    const int64_t every = config_.monitoring.evaluate_every;
    if (every > 0 && trainer_->steps_done() == 0) evaluate();
    const double started = now_seconds();
    while (trainer_->steps_done() < config_.run.steps) {
      StepReport report = trainer_->step();
      report.planned_peak_bytes = end_.planned_peak_bytes;
      report.planned_step_seconds = end_.planned_step_seconds;
      note(report);
      if (trace_) trace_->add(report, *trainer_);
      for (auto& sink : sinks_) sink->step(report);
      trainer_->require_sound(report);
      if (every > 0 && report.step % every == 0 && report.step != config_.run.steps) evaluate();
      if (report.stop_wanted && report.step != config_.run.steps) return save_and_stop();
      if (!snapshots_) continue;
      trainer_->move_to(Phase::save);
      snapshots_->step_ended(tell_);
    }
    end_.seconds = now_seconds() - started;
    evaluate();
    finish();
    return kDone;
  }

  ExitCode save_and_stop() {
    is_stopping_ = true;
    if (!snapshots_) open_snapshots();
    snapshots_->save(tell_);
    snapshots_->finish(tell_);
    const std::string where =
        fmt::format("stopped, as asked, after step {} of {}", trainer_->steps_done(), config_.run.steps);
    if (saved_step_ != trainer_->steps_done()) throw SharedFailure(kStorage, where + ", which could not be saved");
    if (communicator_.rank() > 0) return kStopped;
    fmt::print(stderr, "reprise: {}; saved: the same command{} goes on\n", where,
               config_.run.overwrite ? " without run.overwrite" : "");
    return kStopped;
  }

  // Everything that can be refused is refused here, before the first step and with nothing but the run directory made.
  void prepare() {
    facts_ = agreement_fields(config_);
    facts_["build"] = fmt::format("{} {} {} LibTorch {}", kVersion, kCommit, kBuildType, kLibTorch);
    facts_["threads"] = std::to_string(at::get_num_threads());  // they decide bits and workspaces
    facts_["parameter table"] = describe_parameters(model_);
    together(communicator_, [&] { open_data(); });
    require_agreement(communicator_, facts_);
    together(communicator_, [&] {
      check_batch(config_, communicator_.size());
      const bool is_there = std::filesystem::exists(config_.run.directory);
      if (communicator_.rank() == 0 && is_there) lock_ = lock_run(config_);
    });
    const StartPoint start = find_start(communicator_, config_, facts_);
    choice_ = choose_together(config_, communicator_, device_, model_);
    flat_.emplace(model_, true, config_.compute_type(), device_.device);
    TrainerSetting setting = config_.trainer();
    setting.wants_stop = [this] {
      const double seconds = snapshots_ ? snapshots_->seconds_to_stop() : first_save_seconds(flat_->layout);
      return stop_.is_made(config_.run.max_seconds, seconds);
    };
    together(communicator_, [&] { trainer_.emplace(model_, *flat_, plan(), communicator_, *training_, setting); });
    fill_state(start, config_, *trainer_, model_, *flat_, communicator_);
    together_by_rank_0(communicator_, [&] {
      if (!lock_) lock_ = lock_run(config_);  // makes the folder, now that nothing stands in the way
      directory_.emplace(config_, start);
    });
    require_agreement(communicator_,
                      {{"bucket layout", describe_buckets(trainer_->buckets())},
                       {"plan", fmt::format("{} at {} sequences", strip_of(plan()), config_.micro_sequences)}});
    std::string address;
    together(communicator_, [&] { address = open_sinks(); });
    const std::vector<std::string> addresses = gather_texts(communicator_, address);
    together_by_rank_0(communicator_, [&] { directory_->write_targets(config_.run.name, addresses); });
    attempt_ = static_cast<int64_t>(largest_figures(communicator_, {lock_ ? double(lock_->attempt()) : 1})[0]);
    if (config_.monitoring.trace) trace_.emplace(config_.run.directory, model_, communicator_);
    if (config_.snapshot.every_steps > 0) open_snapshots();
  }

  void open_snapshots() {
    snapshots_.emplace(config_, communicator_, model_, flat_->layout, *trainer_, facts_,
                       directory_ ? &*directory_ : nullptr, attempt_);
  }

  void open_data() {
    if (!std::filesystem::is_directory(config_.data_directory)) {
      throw DataError(
          fmt::format("data.directory: {} is no folder; make it with: reprise data prepare --out {} FILE...",
                      config_.data_directory, config_.data_directory));
    }
    training_.emplace(config_.data_directory, "train");
    validation_.emplace(config_.data_directory, "validation");
    const ModelConfig& model = config_.model;
    facts_["training data"] = training_->describe(model.context + 1, model.vocabulary);
    facts_["validation data"] = validation_->describe(model.context + 1, model.vocabulary);
  }

  // Returns where this rank serves its metrics; "" nowhere.
  std::string open_sinks() {
    if (communicator_.rank() == 0) {
      directory_->write_plan(choice_.costs, choice_.planned);
      sinks_.push_back(make_console(stdout, config_.monitoring.every_steps));
      sinks_.push_back(make_json_lines(directory_->metrics()));
      sinks_.push_back(make_loss_plot(directory_->loss_plot()));
      directory_->replay(*sinks_.back());
    }
    if (!config_.monitoring.prometheus_enabled) return {};
    PrometheusExporter exporter =
        make_prometheus_exporter(exporter_address(config_.monitoring.prometheus_listen, communicator_.local_rank()),
                                 config_.run.name, communicator_.rank());
    if (!exporter.warning.empty()) {
      fmt::print(stderr, "reprise: {}: {}\n", communicator_.describe(communicator_.rank()), exporter.warning);
    }
    if (!exporter.sink) return {};
    sinks_.push_back(std::move(exporter.sink));
    return exporter.address;
  }

  void announce() {
    const Prediction& predicted = choice_.planned.predicted;
    end_.planned_peak_bytes = static_cast<uint64_t>(predicted.peak_bytes);
    end_.planned_step_seconds = predicted.step_seconds;
    if (communicator_.rank() == 0) {
      fmt::print("{}{}{}", choice_.rows.size() > 1 ? micro_page(choice_) : "", bucket_line(choice_.costs),
                 precision_note(config_, device_.device));
    }
    const ModelConfig& model = config_.model;
    RunStart start{.run = config_.run.name,
                   .model = fmt::format("{}, {} layers, width {}, {} heads, context {}", name_of(model.family),
                                        model.layers, model.width, model.heads, model.context),
                   .plan = strip_of(plan()),
                   .plan_origin = plan().origin,
                   .ranks = communicator_.size(),
                   .resumed_step = trainer_->steps_done(),
                   .parameters = model_.parameters().count(),
                   .steps = config_.run.steps,
                   .global_sequences = config_.global_sequences,
                   .micro_sequences = config_.micro_sequences,
                   .context = model.context,
                   .flops_per_token = flops_per_token(model_),
                   .planned_peak_bytes = end_.planned_peak_bytes,
                   .planned_step_seconds = end_.planned_step_seconds,
                   .restarts = attempt_ - 1};
    describe_rank(start, config_, communicator_, *flat_, *trainer_);
    for (auto& sink : sinks_) sink->start(start);
  }

  const Plan& plan() const { return choice_.planned.plan; }

  void evaluate() {
    const EvaluationReport report = trainer_->evaluate(*validation_, config_.monitoring.evaluate_windows);
    for (auto& sink : sinks_) sink->evaluation(report);
  }

  void tell(const SnapshotReport& report) {
    for (auto& sink : sinks_) sink->snapshot(report);
    if (report.saved) saved_step_ = report.step;
    if (report.problem.empty() || communicator_.rank() != 0) return;
    fmt::print(stderr, "reprise: snapshot of step {} {}: {}{}\n", report.step,
               report.saved ? "is saved, but older ones stay" : "is dropped", report.problem,
               is_stopping_ ? "" : "; training goes on");
  }

  void note(const StepReport& report) {
    end_.tokens += report.tokens;
    end_.skipped_steps += report.skipped ? 1 : 0;
    end_.peak_bytes_max = std::max(end_.peak_bytes_max, report.peak_bytes_max);
    step_seconds_.push_back(report.step_seconds);
  }

  void finish() {
    trainer_->expect_long_wait(Phase::save, disk_seconds_);
    if (snapshots_) snapshots_->finish(tell_);
    trainer_->require_equal_replicas();
    end_.steps = trainer_->steps_done();
    together_by_rank_0(communicator_, [&] { directory_->write_weights(model_, config_.tokenizer); });
    end_.weights_xxh3 = weights_hash(model_);
    end_.median_step_seconds = median(step_seconds_);
    for (auto& sink : sinks_) sink->end(end_);
    communicator_.barrier();
  }

  Config config_;
  Communicator& communicator_;
  const DeviceChoice device_;
  StopRequest& stop_;
  std::map<std::string, std::string> facts_;  // that ranks agree on
  JointChoice choice_;
  std::unique_ptr<RunLock> lock_;  // rank 0 only
  StageChain model_;
  const double disk_seconds_;  // for which the disk may keep the others waiting
  Vigil vigil_;
  std::optional<FlatModel> flat_;
  std::optional<TokenShards> training_, validation_;
  std::optional<Trainer> trainer_;
  std::optional<RunDirectory> directory_;  // rank 0 only
  std::optional<RunTrace> trace_;
  int64_t attempt_ = 1;  // of this run; 1: the first
  Sinks sinks_;
  const RunSnapshots::Tell tell_ = [this](const SnapshotReport& report) { tell(report); };
  std::optional<RunSnapshots> snapshots_;
  int64_t saved_step_ = 0;  // of the newest one
  bool is_stopping_ = false;
  RunEnd end_;
  std::vector<double> step_seconds_;
};

}  // namespace

ExitCode train(Config config, StopRequest& stop) {
  const double patience = kStartPatience * config.distributed.deadline_seconds;
  const std::unique_ptr<Communicator> host = connect_ranks(patience);
  host->set_wait_limit(patience, "start");
  const DeviceChoice choice = choose_device(config, *host);
  const std::unique_ptr<Communicator> between_devices = connect_device(config, *host, choice.device, patience);
  return RankRun(config, between_devices ? *between_devices : *host, choice, stop).run();
}

}  // namespace reprise
