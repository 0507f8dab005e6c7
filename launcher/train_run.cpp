#include "launcher/train_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "checkpointing/memory_meter.h"
#include "distributed/agreement.h"
#include "launcher/build_facts.h"
#include "launcher/device_choice.h"
#include "launcher/drawings.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"
#include "launcher/run_directory.h"
#include "launcher/run_trace.h"
#include "launcher/spelling.h"
#include "monitoring/console.h"
#include "monitoring/format.h"
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
  RankRun(Config config, Communicator& communicator, const DeviceChoice& device)
      : config_(std::move(config)), communicator_(communicator), device_(device), model_(config_.model) {
    communicator_.set_wait_limit(kStartPatience * config_.distributed.deadline_seconds, "start");
  }

  void run() {
    prepare();
    announce();
    try {
      train_and_save();
    } catch (...) {
      const Failure failure = describe_failure(std::current_exception());
      if (failure.code != kDoesNotFit) throw;
      throw NothingFits(explain_memory(failure.message), 0);
    }
  }

 private:
  void train_and_save() {
    const int64_t every = config_.monitoring.evaluate_every;
    if (every > 0) evaluate();
    const double started = now_seconds();
    while (trainer_->steps_done() < config_.run.steps) {
      StepReport report = trainer_->step();
      report.planned_peak_bytes = end_.planned_peak_bytes;
      report.planned_step_seconds = end_.planned_step_seconds;
      note(report);
      if (trace_) trace_->add(report, *trainer_);
      for (auto& sink : sinks_) sink->step(report);
      trainer_->require_finite(report);
      if (every > 0 && report.step % every == 0 && report.step != config_.run.steps) evaluate();
    }
    end_.seconds = now_seconds() - started;
    evaluate();
    finish();
  }

  // Memory has run out although the plan was to fit: against what was promised, and what would take less.
  std::string explain_memory(const std::string& reason) const {
    const uint64_t held = MemoryMeter::peak_bytes();
    std::string sentence =
        fmt::format("{} ran out of memory in step {} with {} in tensors, {} planned, under plan {} ({})",
                    communicator_.describe(communicator_.rank()), trainer_->steps_done() + 1, format_bytes(held),
                    format_bytes(choice_.planned.predicted.peak_bytes), strip_of(plan()), reason);
    const auto budget = static_cast<int64_t>(held - held / 10);  // did fit, with room for what lies between tensors
    try {
      const PlannedStep fitting = fastest_plan(choice_.costs, budget);
      sentence += fmt::format("; checkpointing.policy: budget with checkpointing.budget: {} plans {}, a peak of {}",
                              budget, strip_of(fitting.plan), format_bytes(fitting.predicted.peak_bytes));
    } catch (const DoesNotFit& failure) {
      sentence += "; " + what_would_fit(failure, choice_.costs, budget);
    }
    return sentence;
  }

  // Everything that can be refused is refused here, before the first step and with nothing but the run directory made.
  void prepare() {
    std::map<std::string, std::string> facts = agreement_fields(config_);
    facts["build"] = fmt::format("{} {} {} LibTorch {}", kVersion, kCommit, kBuildType, kLibTorch);
    facts["threads"] = std::to_string(at::get_num_threads());  // they decide bits and workspaces
    facts["parameter table"] = describe_parameters(model_);
    together(communicator_, [&] {
      if (!std::filesystem::is_directory(config_.data_directory)) {
        throw DataError(
            fmt::format("data.directory: {} is no folder; make it with: reprise data prepare --out {} FILE...",
                        config_.data_directory, config_.data_directory));
      }
      training_.emplace(config_.data_directory, "train");
      validation_.emplace(config_.data_directory, "validation");
      const ModelConfig& model = config_.model;
      facts["training data"] = training_->describe(model.context + 1, model.vocabulary);
      facts["validation data"] = validation_->describe(model.context + 1, model.vocabulary);
    });
    require_agreement(communicator_, facts);
    together(communicator_, [&] {
      check_batch();
      if (communicator_.rank() == 0) RunDirectory::require_free(config_);
    });
    choose();
    together(communicator_, [&] {
      if (communicator_.rank() == 0) directory_.emplace(config_);
    });
    flat_.emplace(model_, true, config_.compute_type(), device_.device);
    flat_->initialize(model_, config_.run.seed);
    together(communicator_,
             [&] { trainer_.emplace(model_, *flat_, plan(), communicator_, *training_, config_.trainer()); });
    require_agreement(communicator_,
                      {{"bucket layout", describe_buckets(trainer_->buckets())},
                       {"plan", fmt::format("{} at {} sequences", strip_of(plan()), config_.micro_sequences)}});
    together(communicator_, [&] { open_sinks(); });
    if (config_.monitoring.trace) trace_.emplace(config_.run.directory, model_, communicator_);
  }

  // The micro-batch, the plan and its prediction, from figures that are equal on every rank.
  void choose() {
    agree_on_budget();
    const FlatLayout layout = layout_of(model_);
    std::optional<WireModel> wire;
    if (communicator_.size() > 1) wire = fit_wire(communicator_, device_.device);
    const double seconds = config_.micro_sequences == kAuto ? 2 : 4;  // several micro-batches to measure, or one
    const auto measure = [&](const Config& candidate) {               // on every rank; the slowest one counts
      CostTable costs;
      together(communicator_, [&] {
        costs = cached_costs(candidate, device_, communicator_.size(), seconds, [&] {
          if (communicator_.rank() != 0) return;
          fmt::print("measuring the stages on this machine, {} sequences at once: about {:.0f} s, once\n",
                     candidate.micro_sequences, seconds);
          std::fflush(stdout);
        });
      });
      take_worst(communicator_, costs);
      costs.wire = wire;
      return costs;
    };
    try {
      choice_ = choose_jointly(config_, communicator_.size(), communicator_.local_size(), &layout, measure);
    } catch (const NothingFits& failure) {
      throw SharedFailure(kDoesNotFit, failure.what());
    } catch (const InvalidSetting& error) {
      throw SharedFailure(kConfiguration, at_setting(config_, error).what());
    }
  }

  // The smallest of the ranks' budgets, in bytes.
  void agree_on_budget() {
    std::string* budget = budget_of(config_);
    if (budget == nullptr) return;
    std::string own;
    together(communicator_, [&] { own = std::to_string(budget_bytes(config_, *budget, communicator_.local_size())); });
    const std::vector<std::string> budgets = gather_texts(communicator_, own);
    const auto is_smaller = [](const std::string& a, const std::string& b) { return std::stoll(a) < std::stoll(b); };
    *budget = *std::min_element(budgets.begin(), budgets.end(), is_smaller);
  }

  void check_batch() const {
    const bool chooses = config_.micro_sequences == kAuto;
    const int64_t at_once = (chooses ? 1 : config_.micro_sequences) * communicator_.size();
    if (config_.global_sequences % at_once == 0) return;
    const int64_t nearest = std::max<int64_t>(1, (config_.global_sequences + at_once / 2) / at_once) * at_once;
    const std::string divisor =
        chooses ? fmt::format("the {} ranks", communicator_.size())
                : fmt::format("micro_sequences × ranks = {} × {}", config_.micro_sequences, communicator_.size());
    throw ConfigError(fmt::format("batch.global_sequences: expected a multiple of {}, got {}; nearest: {}", divisor,
                                  config_.global_sequences, nearest));
  }

  void open_sinks() {
    if (communicator_.rank() == 0) {
      directory_->write_plan(choice_.planned);
      sinks_.push_back(make_console(stdout, config_.monitoring.every_steps));
      sinks_.push_back(make_json_lines(directory_->metrics()));
      sinks_.push_back(make_loss_plot(directory_->loss_plot()));
    }
    if (!config_.monitoring.prometheus_enabled) return;
    PrometheusExporter exporter =
        make_prometheus_exporter(exporter_address(config_.monitoring.prometheus_listen, communicator_.local_rank()),
                                 config_.run.name, communicator_.rank());
    if (!exporter.warning.empty()) {
      fmt::print(stderr, "reprise: {}: {}\n", communicator_.describe(communicator_.rank()), exporter.warning);
    }
    if (exporter.sink) sinks_.push_back(std::move(exporter.sink));
  }

  void announce() {
    const Prediction& predicted = choice_.planned.predicted;
    end_.planned_peak_bytes = static_cast<uint64_t>(predicted.peak_bytes);
    end_.planned_step_seconds = predicted.step_seconds;
    if (communicator_.rank() == 0 && choice_.rows.size() > 1) fmt::print("{}", micro_page(choice_));
    if (communicator_.rank() == 0) fmt::print("{}", bucket_line(choice_.costs));
    const bool has_bf16 = !device_.device.is_cpu() ||
                          read_host_facts().flags.find("_bf16 ") != std::string::npos;  // avx512_bf16, amx_bf16
    if (communicator_.rank() == 0 && config_.precision.compute == "bf16" && !has_bf16) {
      fmt::print("this processor has no bfloat16 instructions: bf16 saves memory here and costs time\n");
    }
    const ModelConfig& model = config_.model;
    const RunStart start{.run = config_.run.name,
                         .model = fmt::format("{}, {} layers, width {}, {} heads, context {}", name_of(model.family),
                                              model.layers, model.width, model.heads, model.context),
                         .plan = strip_of(plan()),
                         .plan_origin = plan().origin,
                         .ranks = communicator_.size(),
                         .parameters = model_.parameters().count(),
                         .steps = config_.run.steps,
                         .global_sequences = config_.global_sequences,
                         .micro_sequences = config_.micro_sequences,
                         .context = model.context,
                         .flops_per_token = flops_per_token(model_),
                         .planned_peak_bytes = end_.planned_peak_bytes,
                         .planned_step_seconds = end_.planned_step_seconds};
    for (auto& sink : sinks_) sink->start(start);
  }

  const Plan& plan() const { return choice_.planned.plan; }

  void evaluate() {
    const EvaluationReport report = trainer_->evaluate(*validation_, config_.monitoring.evaluate_windows);
    for (auto& sink : sinks_) sink->evaluation(report);
  }

  void note(const StepReport& report) {
    end_.steps = report.step;
    end_.tokens += report.tokens;
    end_.skipped_steps += report.skipped ? 1 : 0;
    end_.peak_bytes_max = std::max(end_.peak_bytes_max, report.peak_bytes_max);
    step_seconds_.push_back(report.step_seconds);
  }

  void finish() {
    trainer_->expect_long_wait("save");
    together(communicator_, [&] {
      if (communicator_.rank() == 0) directory_->write_weights(model_, config_.tokenizer);
    });
    end_.weights_xxh3 = weights_hash(model_);
    end_.median_step_seconds = median(step_seconds_);
    for (auto& sink : sinks_) sink->end(end_);
    communicator_.barrier();
  }

  Config config_;
  Communicator& communicator_;
  const DeviceChoice device_;
  JointChoice choice_;
  StageChain model_;
  std::optional<FlatModel> flat_;
  std::optional<TokenShards> training_, validation_;
  std::optional<Trainer> trainer_;
  std::optional<RunDirectory> directory_;  // rank 0 only
  std::optional<RunTrace> trace_;
  Sinks sinks_;
  RunEnd end_;
  std::vector<double> step_seconds_;
};

}  // namespace

void train(Config config) {
  const double patience = kStartPatience * config.distributed.deadline_seconds;
  const std::unique_ptr<Communicator> host = connect_ranks(patience);
  host->set_wait_limit(patience, "start");
  const DeviceChoice choice = choose_device(config, *host);
  const std::unique_ptr<Communicator> between_devices = connect_device(config, *host, choice.device, patience);
  RankRun(config, between_devices ? *between_devices : *host, choice).run();
}

}  // namespace reprise
