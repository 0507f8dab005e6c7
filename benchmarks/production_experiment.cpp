// A quarter of the layers recomputed in a training run as it would be for real: text, cross-entropy, the trainer's own
// step, and mixed precision with loss scaling when asked.
#include <c10/util/ScopeExit.h>
#include <fmt/format.h>

#include <filesystem>

#include "benchmarks/experiments.h"
#include "training/file_system.h"
#include "training/prepare.h"
#include "training/trainer.h"

namespace reprise::bench {
namespace {

// One plan's training. Bytes are its own: what the other run holds meanwhile is taken off.
struct Run {
  Run(std::string run_name, const Config& config, const Plan& plan, const TokenShards& shards)
      : name(std::move(run_name)),
        before_bytes(static_cast<int64_t>(MemoryMeter::current_bytes())),
        model(config.model),
        flat(model, true, config.compute_type(), device_for(config).device),
        alone(make_lone_communicator()),
        trainer(model, flat, plan, *alone, shards, config.trainer()) {
    flat.initialize(model, config.run.seed);
    step();
    own_bytes = static_cast<int64_t>(MemoryMeter::current_bytes()) - before_bytes;
  }

  void step() {
    const auto held_by_others = static_cast<int64_t>(MemoryMeter::current_bytes()) - own_bytes;
    const StepReport report = trainer.step();
    trainer.require_sound(report);
    if (own_bytes > 0) {
      peak_bytes = std::max(peak_bytes, static_cast<int64_t>(report.peak_bytes) - held_by_others);
      cell.seconds.push_back(report.step_seconds);
    }
    losses.push_back(report.loss);
    loss_scale = report.loss_scale;
    skipped += report.skipped;
  }

  std::string name;
  int64_t before_bytes, own_bytes = 0, peak_bytes = 0;
  StageChain model;
  FlatModel flat;
  std::unique_ptr<Communicator> alone;
  Trainer trainer;
  Cell cell;  // its times
  std::vector<double> losses;
  double loss_scale = 1;
  int skipped = 0;
};

// Text with something to learn, as token shards in `directory`.
void write_text(const std::string& directory, int64_t tokens) {
  static const std::vector<std::string> words = {"segment", "keeps", "one",  "boundary", "and",      "plays", "the",
                                                 "rest",    "again", "when", "its",      "gradient", "comes", "back"};
  std::string text;
  for (uint64_t i = 0; static_cast<int64_t>(text.size()) < 2 * tokens; ++i) {
    text += words[(i * i + i / 7) % words.size()] + (i % 11 == 10 ? ".\n" : " ");
  }
  std::filesystem::create_directories(directory);
  write_durably(directory + "/text.txt", text);
  prepare_data({directory + "/text.txt"}, directory, "bytes", [](int64_t, int64_t) {});
}

Figure plot(const Run& none, const Run& ratio) {
  const auto line = [](const Run& run, Shape shape) {
    Series series{run.name, shape};
    for (size_t i = 0; i < run.losses.size(); ++i) series.points.push_back({static_cast<double>(i + 1), run.losses[i]});
    return series;
  };
  return {.title = "Loss of the same training, with and without recomputation",
          .x_title = "step",
          .panels = {
              {.y_title = "loss (nats per token)", .series = {line(none, Shape::line), line(ratio, Shape::points)}}}};
}

}  // namespace

Finding run_production(const Options& options) {
  std::vector<std::string> own =
      options.is_gpu()
          ? settings({"layers=16", "width=1024", "heads=32", "feed_forward=16384", "context=512"}, 4, "ratio=0.25")
          : settings({"layers=16", "width=128", "heads=4", "context=64"}, 4, "ratio=0.25");
  own.insert(own.end(), {"optimizer.warmup_steps=10", "optimizer.schedule=constant"});
  const Sized sized = fit_layers(configure(options, Objective::next_token, own), 1);
  const Config& config = sized.config;
  const std::string directory = options.out + "/data";
  const auto remove = c10::make_scope_exit([&] { std::filesystem::remove_all(directory); });
  const int steps = options.rounds_or(30);
  write_text(directory, (steps + 1) * config.global_sequences * (config.model.context + 1));
  const TokenShards shards(directory, "train");

  const PlannedStep keep = plan_of_policy(config, sized.costs, "none");
  const PlannedStep quarter = plan_of_policy(config, sized.costs, "ratio");
  Run none("none", config, keep.plan, shards), ratio(quarter.plan.origin, config, quarter.plan, shards);
  for (int step = 0; step < steps; ++step) {
    none.step();
    ratio.step();
    if ((step + 1) % 10 == 0)
      print_progress(fmt::format("step {} of {}: loss {:.3f}", step + 1, steps, none.losses.back()));
  }
  const Ratio slowdown = ratio_to(none.cell, ratio.cell);
  const double planned = quarter.predicted.step_seconds / keep.predicted.step_seconds;
  const auto saved = static_cast<double>(none.peak_bytes - ratio.peak_bytes);
  const double of_activations = saved / static_cast<double>(none.peak_bytes - sized.costs.base_bytes);
  const bool is_equal = none.losses == ratio.losses;

  Finding finding;
  Table table{fmt::format("{} steps of cross-entropy, computing in {}", steps, config.precision.compute),
              {"policy", "ms a step", "slowdown", "peak", "loss at the end", "loss scale", "skipped"}};
  for (const Run* run : {&none, &ratio}) {
    table.rows.push_back({run->name, milliseconds(run->cell.median()),
                          fmt::format("{:.3f}", run == &none ? 1 : slowdown.median), bytes(run->peak_bytes),
                          fmt::format("{:.6f}", run->losses.back()), fmt::format("{:g}", run->loss_scale),
                          std::to_string(run->skipped)});
  }
  finding.claim = "every 4th layer recomputed costs 5–10 % time and saves up to a quarter of the activations";
  finding.measured = fmt::format(
      "{} costs {:+.1f} % ± {:.1f} ({:+.1f} planned) and saves {} of the activations; the losses "
      "of all steps are {}",
      ratio.name, 100 * (slowdown.median - 1), 100 * slowdown.half_width, 100 * (planned - 1), percent(of_activations),
      is_equal ? "equal, bit by bit" : "NOT equal");
  finding.notes = {"mixed precision: precision.compute=bf16 (on a GPU also fp16) with precision.loss_scaling=dynamic"};
  if (!sized.note.empty()) finding.notes.push_back(sized.note);
  finding.tables = {table};
  finding.figure = plot(none, ratio);
  finding.numbers = {{"losses", none.losses},
                     {"losses_equal", is_equal},
                     {"slowdown", slowdown.median},
                     {"slowdown_planned", planned},
                     {"peak_bytes", {none.peak_bytes, ratio.peak_bytes}},
                     {"activations_saved", of_activations},
                     {"loss_scale", ratio.loss_scale},
                     {"skipped", ratio.skipped}};
  return finding;
}

}  // namespace reprise::bench
