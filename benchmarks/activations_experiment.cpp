// Where the memory of a forward goes: bytes after each layer, beside a formula in sizes alone.
#include <fmt/format.h>

#include "benchmarks/experiments.h"

namespace reprise::bench {
namespace {

// What one layer of the post-norm family keeps, by the tensors that hold it; for B sequences of T tokens of C elements.
struct LayerBytes {
  double input = 0, norm = 0, qkv = 0, attention = 0, pre_activation = 0, activation = 0;
  double unfused = 0;  // what attention without a fused kernel would keep beside: its (B, H, T, T) probabilities
  double total() const { return input + norm + qkv + attention + pre_activation + activation; }
};

LayerBytes formula(const ModelConfig& model, int64_t sequences, int64_t element_bytes) {
  const auto b = static_cast<double>(sequences), t = static_cast<double>(model.context);
  const auto heads = static_cast<double>(model.heads), ff = static_cast<double>(model.feed_forward);
  const auto e = static_cast<double>(element_bytes);
  const double boundary = b * t * static_cast<double>(model.width) * e;  // one (B, T, C)
  constexpr double kStatistic = sizeof(float);                           // of a row, whatever the element
  LayerBytes layer;
  layer.input = 2 * boundary;                            // of either sub-block
  layer.norm = 2 * (boundary + 2 * b * t * kStatistic);  // the sum to be normalised, mean and deviation
  layer.qkv = b * t * static_cast<double>((model.heads + 2 * model.kv_heads) * model.head_width()) * e;
  layer.attention = boundary + b * heads * t * kStatistic;  // the output and the rows' logsumexp
  layer.pre_activation = 0;                                 // ReLU writes its output over it
  layer.activation = b * t * ff * e;
  layer.unfused = b * heads * t * t * e;
  return layer;
}

// Tensor bytes after each layer's forward, less those before the first.
std::vector<double> measure(const Config& config) {
  StageChain model(config.model);
  FlatModel flat(model, /*with_gradients=*/true, config.compute_type(), device_for(config).device);
  flat.initialize(model, config.run.seed);
  SegmentExecutor executor(model, plan_of(PolicySetting{}, shapes_of(model)), config.run.seed);
  print_progress(fmt::format("one forward and backward of {} layers", config.model.layers));
  executor.begin_step(0);
  executor.run(model.random_batch(config.micro_sequences, config.model.context), 1, [](int) {});
  double before = 0;
  std::vector<double> after;
  for (const StageEvent& event : executor.record().events()) {
    if (event.kind != EventKind::forward) continue;
    if (event.stage == 0) before = static_cast<double>(event.live_bytes);
    const bool ends_layer = event.stage > 0 && event.stage % 2 == 0;
    if (ends_layer) after.push_back(static_cast<double>(event.live_bytes) - before);
  }
  return after;
}

Table layer_table(const Config& config, const std::vector<double>& after, int layers_asked, double per_layer) {
  Table table{"Memory after each layer's forward",
              {"layer", "output (B, T, C)", "this layer", "all so far", "by formula", "over"}};
  for (int i = 0; i < layers_asked; ++i) {
    const auto at = static_cast<size_t>(i);
    const double expected = per_layer * (i + 1);
    std::vector<std::string> row{std::to_string(i), fmt::format("({}, {}, {})", config.micro_sequences,
                                                                config.model.context, config.model.width)};
    if (at < after.size()) {
      row.push_back(in_mib(after[at] - (i == 0 ? 0 : after[at - 1])));
      row.push_back(in_mib(after[at]));
    } else {
      row.insert(row.end(), 2, "not run");
    }
    row.push_back(in_mib(expected));
    row.push_back(at < after.size() ? fmt::format("{:+.2f} %", 100 * (after[at] / expected - 1)) : "");
    table.rows.push_back(row);
  }
  return table;
}

Table tensor_table(const LayerBytes& here, const LayerBytes& known) {
  Table table{"Which tensors hold a layer, by formula",
              {"tensor", "this run", "share", "one sequence, T 2048, d 4096, fp16"}};
  const auto add = [&](const char* name, double LayerBytes::*part) {
    table.rows.push_back({name, in_mib(here.*part), percent(here.*part / here.total()), in_mib(known.*part)});
  };
  add("input", &LayerBytes::input);
  add("norm", &LayerBytes::norm);
  add("qkv", &LayerBytes::qkv);
  add("attention", &LayerBytes::attention);
  add("pre-activation", &LayerBytes::pre_activation);
  add("activation", &LayerBytes::activation);
  table.rows.push_back({"a layer", in_mib(here.total()), percent(1), in_mib(known.total())});
  table.rows.push_back({"unfused attention would add", in_mib(here.unfused), percent(here.unfused / here.total()),
                        in_mib(known.unfused)});
  return table;
}

Figure plot(const std::vector<double>& after, int layers, const LayerBytes& layer) {
  Series measured{"measured", Shape::points}, formula_line{"formula"}, unfused{"with unfused attention (formula)"};
  for (int i = 0; i <= layers; ++i) {
    formula_line.points.push_back({static_cast<double>(i), mib(layer.total()) * i});
    unfused.points.push_back({static_cast<double>(i), mib(layer.total() + layer.unfused) * i});
  }
  for (size_t i = 0; i < after.size(); ++i) measured.points.push_back({static_cast<double>(i + 1), mib(after[i])});
  return {.title = "Activation memory grows by the same amount with every layer",
          .x_title = "layers whose forward has run",
          .panels = {{.y_title = "activations kept (MiB)", .series = {unfused, formula_line, measured}}}};
}

}  // namespace

Finding run_activations(const Options& options) {
  const Config asked = configure(
      options, Objective::regression,
      options.is_gpu() ? settings({"layers=20", "width=4096", "heads=32", "feed_forward=16384", "context=2048"}, 16)
                       : settings({"layers=8", "width=256", "heads=8", "context=256"}, 4));
  const Sized sized = fit_layers(asked, 0);
  const std::vector<double> after = measure(sized.config);
  const auto element = static_cast<int64_t>(c10::elementSize(asked.compute_type()));
  const LayerBytes here = formula(asked.model, asked.micro_sequences, element);
  ModelConfig known_model;
  known_model.family = Family::postnorm;
  known_model.width = 4096;
  known_model.heads = 32;
  known_model.context = 2048;
  const LayerBytes known = formula(known_model.resolved(), 1, 2);
  const double slope = after.back() / static_cast<double>(after.size());

  Finding finding;
  finding.claim = "a layer at T 2048, d 4096 in fp16 keeps 64 MB a sequence, 80 layers 5 GB";
  finding.measured = fmt::format(
      "{} a layer here, {:+.2f} % from the formula; at the claim's size the formula gives {} a layer, {} for 80 layers",
      in_mib(slope), 100 * (slope / here.total() - 1), in_mib(known.total()),
      bytes(static_cast<int64_t>(80 * known.total())));
  finding.notes = {
      fmt::format(
          "64 MB are the activation of the feed-forward alone ({}); a backward also reads the rest of the table",
          in_mib(known.activation)),
      fmt::format("fused attention keeps one number a row; without it the probabilities would add {} a layer at the "
                  "claim's size, and grow with T²",
                  in_mib(known.unfused))};
  if (!sized.note.empty()) finding.notes.push_back(sized.note);
  finding.tables = {layer_table(asked, after, asked.model.layers, here.total()), tensor_table(here, known)};
  finding.figure = plot(after, asked.model.layers, here);
  finding.numbers = {{"cumulative_bytes", after},
                     {"formula_layer_bytes", here.total()},
                     {"unfused_attention_layer_bytes", here.unfused},
                     {"claim_formula_layer_bytes", known.total()},
                     {"layers_asked", asked.model.layers}};
  return finding;
}

}  // namespace reprise::bench
