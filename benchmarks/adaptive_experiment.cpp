// Any set of layers recomputed: the same bits as the plain model, whichever they are.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <random>

#include "benchmarks/experiments.h"
#include "training/errors.h"

namespace reprise::bench {
namespace {

// What one micro-batch leaves behind; the time is the shortest of three.
struct Outcome {
  torch::Tensor loss, gradients;
  int64_t peak_bytes = 0;
  double seconds = 0;
};

Outcome run(Bench& bench, Cell& cell, const Batch& batch, double loss_scale) {
  constexpr int kRuns = 3;
  FlatModel& flat = bench.rehearsal().flat();
  Outcome outcome{.gradients = flat.gradients};
  for (int i = 0; i < kRuns; ++i) {
    flat.gradients.zero_();
    MemoryMeter::reset_peak();
    const double started = now_seconds();
    cell.executor->begin_step(0);
    outcome.loss = cell.executor->run(batch, loss_scale, [](int) {});
    const double seconds = now_seconds() - started;
    outcome.seconds = i == 0 ? seconds : std::min(outcome.seconds, seconds);
    outcome.peak_bytes = static_cast<int64_t>(MemoryMeter::peak_bytes());
  }
  return outcome;
}

// As numbers of another type, so that NaN would equal itself and −0 would not equal 0.
int64_t different_bits(const torch::Tensor& a, const torch::Tensor& b) {
  return at::ne(a.view(torch::kInt32), b.view(torch::kInt32)).sum().item<int64_t>();
}

std::vector<int> layers_of_file(const std::string& path) {
  try {
    std::ifstream file(path);
    return Json::parse(file).at("numbers").at("greedy_layers").get<std::vector<int>>();
  } catch (const Json::exception&) {
    throw DataError(fmt::format("--from: expected a result.json of bench selective, got {}", path));
  }
}

// The first set is the user's, the file's, or every other layer; then all layers and random sets.
std::vector<std::vector<int>> sets_of(const Config& config, const Options& options) {
  const int layers = config.model.layers;
  std::vector<int> first = config.checkpointing.list, all;
  if (first.empty() && !options.file.empty()) first = layers_of_file(options.file);
  for (int layer = 0; layer < layers; ++layer) {
    all.push_back(layer);
    if (layer % 2 == 0 && config.checkpointing.list.empty() && options.file.empty()) first.push_back(layer);
  }
  std::vector<std::vector<int>> sets{first, all};
  std::mt19937_64 generator(config.run.seed);
  for (int i = 0; i < options.sets; ++i) {
    std::vector<int> drawn;
    for (const int layer : all) {
      if (generator() % 2 == 1) drawn.push_back(layer);
    }
    sets.push_back(drawn);
  }
  return sets;
}

struct Set {
  std::vector<int> layers;
  int64_t differing = 0, peak_bytes = 0;
  double seconds = 0;
};

Figure plot(const std::vector<Set>& sets) {
  Series peaks{"peak, measured", Shape::points}, times{"time, shortest of three", Shape::points};
  for (const Set& set : sets) {
    const auto count = static_cast<double>(set.layers.size());
    peaks.points.push_back({count, mib(set.peak_bytes)});
    times.points.push_back({count, 1e3 * set.seconds});
  }
  return {.title = "Any set of layers: bytes and time follow the number of layers",
          .x_title = "layers recomputed",
          .panels = {{.y_title = "peak tensor bytes (MiB)", .series = {peaks}, .share = 0.5},
                     {.y_title = "forward and backward (ms)", .series = {times}, .share = 0.5}}};
}

}  // namespace

Finding run_adaptive(const Options& options) {
  const std::vector<std::string> own =
      options.is_gpu()
          ? settings({"layers=10", "width=1024", "heads=32", "feed_forward=16384", "context=256"}, 4, "policy=list")
          : settings({"layers=10", "width=192", "heads=6", "context=128"}, 2, "policy=list");
  const Sized sized = fit_layers(configure(options, Objective::regression, own), 0);
  Bench bench(sized.config);
  const double loss_scale = 1.0 / static_cast<double>(sized.costs.tokens);
  const Batch batch = bench.rehearsal().model().random_batch(sized.config.micro_sequences, sized.config.model.context);
  Cell plain = bench.cell("none", sized.costs, named(sized.costs, "none", 1, SaveLevel::all));
  Outcome reference = run(bench, plain, batch, loss_scale);
  reference.gradients = reference.gradients.clone();

  std::vector<Set> sets{{.layers = {}, .peak_bytes = reference.peak_bytes, .seconds = reference.seconds}};
  for (const std::vector<int>& layers : sets_of(sized.config, options)) {
    const Plan plan = plan_of({.policy = "list", .list = layers}, shapes_of(sized.costs));
    Cell cell = bench.cell("list", sized.costs, plan);
    const Outcome outcome = run(bench, cell, batch, loss_scale);
    const int64_t differing = different_bits(outcome.gradients, reference.gradients) +
                              different_bits(outcome.loss.reshape(1), reference.loss.reshape(1));
    // The clone of the plain gradients is not the model's.
    sets.push_back(
        {layers, differing, outcome.peak_bytes - static_cast<int64_t>(reference.gradients.nbytes()), outcome.seconds});
    if (sets.size() % 10 == 0) print_progress(fmt::format("{} sets of layers", sets.size()));
  }

  Table table{"Sets of layers against the plain model, bit by bit",
              {"layers recomputed", "elements that differ", "peak", "ms"}};
  int64_t differing = 0;
  Json rows = Json::array();
  for (const Set& set : sets) {
    differing += set.differing;
    rows.push_back({{"layers", set.layers},
                    {"differing", set.differing},
                    {"peak_bytes", set.peak_bytes},
                    {"seconds", set.seconds}});
    if (table.rows.size() < 12) {
      table.rows.push_back({fmt::format("[{}]", fmt::join(set.layers, " ")), std::to_string(set.differing),
                            bytes(set.peak_bytes), milliseconds(set.seconds)});
    }
  }
  const int64_t elements = reference.gradients.numel();
  if (differing > 0) {
    throw std::runtime_error(
        fmt::format("expected equal gradients, got {} of {} elements that differ", differing, elements));
  }
  Finding finding;
  finding.claim = "recomputation changes when something is computed, not what";
  finding.measured = fmt::format("{} sets of layers: the loss and all {} gradient elements are equal, bit by bit",
                                 sets.size() - 1, elements);
  finding.notes = {
      "times are the shortest of three runs; layers: checkpointing.list=[…] or --from selective's result.json; the "
      "table shows the first sets, result.json all"};
  if (!sized.note.empty()) finding.notes.push_back(sized.note);
  finding.tables = {table};
  finding.figure = plot(sets);
  finding.numbers = {{"sets", sets.size() - 1}, {"elements", elements}, {"differing", differing}, {"rows", rows}};
  return finding;
}

}  // namespace reprise::bench
