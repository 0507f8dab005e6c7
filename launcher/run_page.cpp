#include "launcher/run_page.h"

#include <fmt/format.h>

#include <map>

#include "launcher/drawings.h"
#include "monitoring/format.h"
#include "monitoring/recent_steps.h"

namespace reprise {
namespace {

double share_of(double part, double whole) { return whole > 0 ? part / whole : 0; }

void add_figures(std::vector<Fact>& facts, const RunHistory& history) {
  const RunStart& run = history.run;
  const RecentSteps recent(history.steps);
  const double step = recent.mean(&StepReport::step_seconds), planned = run.planned_step_seconds;
  facts.push_back(
      {"speed", fmt::format("{} tokens/s, a step in {}{}; the last steps", format_count(recent.tokens_per_second()),
                            format_seconds(step), planned > 0 ? ", planned " + format_seconds(planned) : "")});
  for (const auto& [name, phase] : kPhases) {
    const double seconds = recent.mean(phase), share = share_of(seconds, step);
    facts.push_back({name, fmt::format("{:4.1f} %, {}", 100 * share, format_seconds(seconds)), share});
  }
  const uint64_t peak = std::ranges::max_element(history.steps, {}, &StepReport::peak_bytes_max)->peak_bytes_max;
  const auto planned_peak = static_cast<double>(run.planned_peak_bytes), measured = static_cast<double>(peak),
             budget = static_cast<double>(run.budget_bytes);
  std::string memory = "peak " + format_bytes(measured);
  if (planned_peak > 0) memory += ", planned " + format_bytes(planned_peak);
  if (budget > 0) memory += ", budget " + format_bytes(budget);
  facts.push_back({"memory", memory, share_of(measured, budget > 0 ? budget : planned_peak)});
  for (const auto& [name, spread] : kRankSpreads) {
    if (run.ranks == 1) break;
    const RankSpread& ranks = history.steps.back().*spread;
    facts.push_back({fmt::format("rank {}", name),
                     fmt::format("{} to {}, median {}; most: rank {}", format_seconds(ranks.min),
                                 format_seconds(ranks.max), format_seconds(ranks.median), ranks.max_rank)});
  }
  if (const std::string straggler = recent.straggler(); !straggler.empty()) facts.push_back({"slow", straggler});
  std::map<std::string, int64_t> skipped;
  for (const StepReport& report : history.steps) {
    if (report.skipped) ++skipped[report.skip_reason];
  }
  if (!skipped.empty()) facts.push_back({"skipped", format_counts(skipped) + " updates"});
}

std::string time_left(const RunHistory& history, int64_t steps) {
  if (history.steps.empty() || history.end || steps < 1) return "";
  double evaluating = 0;
  for (const EvaluationReport& report : history.evaluations) {
    if (report.step > 0) evaluating += report.seconds;  // the one before the first step does not come again
  }
  const double step = RecentSteps(history.steps).mean(&StepReport::step_seconds);
  return ", ETA " +
         format_seconds(static_cast<double>(steps) * (step + evaluating / static_cast<double>(history.steps.size())));
}

}  // namespace

std::vector<Fact> facts_of(const RunHistory& history) {
  const RunStart& run = history.run;
  std::vector<Fact> facts = {
      {"model", fmt::format("{}, {} parameters", run.model, format_count(static_cast<double>(run.parameters)))},
      {"batch", fmt::format("{} sequences of {} tokens, {} in a micro-batch, {} rank{}", run.global_sequences,
                            run.context, run.micro_sequences, run.ranks, run.ranks == 1 ? "" : "s")},
      {"plan", run.plan + "  " + run.plan_origin}};
  if (!history.steps.empty()) {
    facts.push_back({"loss", fmt::format("{:.4g} nats per token", history.steps.back().loss)});
    add_figures(facts, history);
  }
  if (!history.evaluations.empty()) {
    const EvaluationReport& last = history.evaluations.back();
    facts.push_back({"held-out", fmt::format("{:.4g} nats per token after step {}", last.loss, last.step)});
  }
  if (const auto& snapshots = history.snapshots; !snapshots.empty()) {
    const auto saved = std::ranges::count_if(snapshots, &SnapshotReport::saved);
    const SnapshotReport& last = snapshots.back();
    facts.push_back({"snapshots",
                     fmt::format("{} saved, {} dropped; the last, of step {}, {}", saved, std::ssize(snapshots) - saved,
                                 last.step, last.saved ? "in " + format_seconds(last.seconds) : last.problem)});
  }
  if (run.restarts > 0) {
    facts.push_back({"restarts", fmt::format("{}, the last after step {}", run.restarts, run.resumed_step)});
  }
  if (history.end) facts.push_back({"weights", "xxh3 " + history.end->weights_xxh3});
  return facts;
}

std::string run_page(const RunHistory& history, const std::string& state, const TextStyle& style) {
  const RunStart& run = history.run;
  const int64_t done = history.steps.empty() ? run.resumed_step : history.steps.back().step;
  const std::string progress = fmt::format(" step {} of {}{}", done, run.steps, time_left(history, run.steps - done));
  const int room_for_bar = std::max(4, style.width - static_cast<int>(text_length(progress)));
  std::vector<std::string> lines = {
      run.run + ": " + state,
      text_bar(share_of(static_cast<double>(done), static_cast<double>(run.steps)), room_for_bar, style) + progress};
  const std::vector<Fact> facts = facts_of(history);
  const int room = style.height - static_cast<int>(lines.size() + facts.size()) - 2;
  if (const std::vector<Series> losses = losses_of(history); room > 2) {
    lines.push_back("loss (o: of held-out text)");
    std::ranges::move(text_plot(losses[0].points, losses[1].points, std::min(room, 12), style),
                      std::back_inserter(lines));
  }
  for (const auto& [name, text, share] : facts) {
    lines.push_back(fmt::format("{:<13}{}{}", name, share < 0 ? "" : text_bar(share, 16, style) + "  ", text));
  }
  if (std::ssize(lines) > style.height) lines.resize(static_cast<size_t>(style.height));
  std::string page;
  for (const std::string& whole : lines) {
    const std::string line = plain_text(whole, style);
    const bool is_loud = style.is_coloured && (page.empty() || line.starts_with("slow"));
    page += is_loud ? fmt::format("\x1b[1m{}\x1b[0m\n", line) : line + "\n";
  }
  return page;
}

}  // namespace reprise
