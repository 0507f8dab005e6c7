// Peak memory of forward and of forward and backward under every policy.
#include <fmt/format.h>

#include "benchmarks/experiments.h"

namespace reprise::bench {
namespace {

// The peak until the loss is known, the next batch in memory as in a step.
int64_t forward_peak(Bench& bench, Cell& cell, const Config& config) {
  StageChain& model = bench.rehearsal().model();
  const auto draw = [&] { return model.random_batch(cell.micro_sequences, config.model.context); };
  const Batch batch = draw(), next = draw();
  int64_t peak = 0;
  MemoryMeter::reset_peak();
  cell.executor->begin_step(0);
  cell.executor->run(batch, 0, [&](int stage) {
    if (stage == model.size() - 1) peak = static_cast<int64_t>(MemoryMeter::peak_bytes());
  });
  return peak;
}

double saved(int64_t of, int64_t bytes_now) { return 1 - static_cast<double>(bytes_now) / static_cast<double>(of); }

// Where not all layers ran: what all of them would take.
void add_formula(Finding& finding, const Config& asked, const Sized& sized) {
  if (sized.note.empty()) return;
  const auto peak = [&](const char* policy) {
    return bytes(plan_of_policy(asked, sized.whole, policy).predicted.peak_bytes);
  };
  finding.notes.push_back(fmt::format("{}; all {} layers by formula: {} with `none`, {} with `group`", sized.note,
                                      asked.model.layers, peak("none"), peak("group")));
}

}  // namespace

Finding run_memory(const Options& options) {
  const Config asked = configure(
      options, Objective::regression,
      options.is_gpu()
          ? settings({"layers=40", "width=2048", "heads=32", "feed_forward=16384", "context=1024"}, 8, "group=4")
          : settings({"layers=12", "width=128", "heads=4", "context=128"}, 8, "group=4"));
  const Sized sized = fit_layers(asked, 1);
  Bench bench(sized.config);
  std::vector<Cell> cells = cells_of_policies(bench, sized.config, sized.costs);
  bench.execute(cells, options.rounds_or(2));

  Finding finding;
  Table table{"Peak memory; the savings are of activations, then of everything",
              {"policy", "forward", "forward + backward", "planned peak", "activations saved", "planned saving",
               "of the peak"}};
  const int64_t base = sized.costs.base_bytes, none = cells.front().peak_bytes;
  const int64_t planned_none = cells.front().planned.predicted.peak_bytes;
  std::vector<double> forward, whole, planned;
  std::vector<std::string> names;
  Json rows = Json::array();
  for (Cell& cell : cells) {
    const int64_t first = forward_peak(bench, cell, sized.config), peak = cell.planned.predicted.peak_bytes;
    const double activations = saved(none - base, cell.peak_bytes - base);
    const double expected = saved(planned_none - base, peak - base);
    table.rows.push_back({cell.name, bytes(first), bytes(cell.peak_bytes), bytes(peak), percent(activations),
                          percent(expected), percent(saved(none, cell.peak_bytes))});
    names.push_back(cell.name);
    forward.push_back(mib(first));
    whole.push_back(mib(cell.peak_bytes));
    planned.push_back(mib(peak));
    Json row = json_of(cell, "policy");
    row["forward_peak_bytes"] = first;
    row["activations_saved"] = activations;
    row["activations_saved_planned"] = expected;
    row["peak_saved"] = saved(none, cell.peak_bytes);
    rows.push_back(row);
  }
  const Json& group = rows[1];
  finding.claim = "segments of 4 layers save 40–60 % of the memory; recomputing every 2–4 layers costs 10–20 % time";
  finding.measured = fmt::format("{} saves {} of the activations ({} planned), {} of the whole peak", names[1],
                                 percent(group["activations_saved"]), percent(group["activations_saved_planned"]),
                                 percent(group["peak_saved"]));
  finding.notes = {
      fmt::format("parameters, gradients, Adam's moments and batches take {} under every policy", bytes(base)),
      "`budget of group` is the planner's fastest plan within the peak of `group`"};
  add_formula(finding, asked, sized);
  finding.tables = {table};
  finding.figure = {.title = "Peak memory under each policy",
                    .x_title = "policy",
                    .x_names = names,
                    .panels = {{.y_title = "peak tensor bytes (MiB)",
                                .series = {bars("forward", forward, 0, 3), bars("forward + backward", whole, 1, 3),
                                           bars("planned peak", planned, 2, 3)}}},
                    .width = 820};
  finding.numbers = {{"base_bytes", base}, {"rows", rows}};
  return finding;
}

}  // namespace reprise::bench
