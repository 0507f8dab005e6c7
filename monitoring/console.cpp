#include "monitoring/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "monitoring/recent_steps.h"

namespace reprise {

// mpirun gives every rank a terminal of its own; what counts then is where mpirun itself writes.
bool writes_to_terminal(std::FILE* out) {
  if (isatty(fileno(out)) != 1) return false;
  if (std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return true;
  std::error_code error;
  const std::string target = std::filesystem::read_symlink(fmt::format("/proc/{}/fd/1", getppid()), error).string();
  return target.starts_with("/dev/pts/") || target.starts_with("/dev/tty");
}

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto redraw_interval = std::chrono::milliseconds(100);

constexpr const char* bold = "1";
constexpr const char* cyan = "36";

std::string format_loss(double loss) {
  return std::abs(loss) < 1e4 ? fmt::format("{:.3f}", loss) : fmt::format("{:.3e}", loss);
}

std::string compared(const char* what, double planned, double measured, std::string (*format)(double)) {
  if (!(planned > 0 && measured > 0)) return fmt::format("{:<9}  measured {}", what, format(measured));
  return fmt::format("{:<9}  planned {}  measured {}  miss {:+.1f} %", what, format(planned), format(measured),
                     miss_percent(planned, measured));
}

class Console final : public Sink {
 public:
  Console(std::FILE* out, int64_t every_steps)
      : out_(out),
        every_steps_(std::max<int64_t>(every_steps, 1)),
        is_terminal_(writes_to_terminal(out)),
        is_coloured_(is_terminal_ && std::getenv("NO_COLOR") == nullptr) {}

  // Whatever is printed next, an error message for one, starts on a line of its own.
  ~Console() override { keep_step_line(); }

  void start(const RunStart& run) override {
    steps_ = run.steps;
    ranks_ = run.ranks;
    print_line(fmt::format("run {}: {}, {} parameters, {} rank{}", run.run, run.model, format_count(run.parameters),
                           run.ranks, run.ranks == 1 ? "" : "s"),
               bold);
    print_line(fmt::format("{} steps of {} sequences of {} tokens, {} in a micro-batch", run.steps,
                           run.global_sequences, run.context, run.micro_sequences));
    print_line(fmt::format("plan {}  {}", run.plan, run.plan_origin));
    if (run.resumed_step > 0) print_line(fmt::format("goes on after step {}", run.resumed_step));
    std::string planned;
    if (run.planned_peak_bytes > 0) planned += "  peak " + format_bytes(run.planned_peak_bytes);
    if (run.planned_step_seconds > 0) planned += "  step " + format_seconds(run.planned_step_seconds);
    if (!planned.empty()) print_line("planned" + planned);
  }

  void step(const StepReport& report) override {
    latest_.add(report);
    ++steps_seen_;
    if (report.skipped) ++skipped_[report.skip_reason];
    if (report.skipped && report.skip_reason != "overflow") {
      print_line(fmt::format("step {} is skipped: {}, gradient norm {:.4g}, samples {} to {}", report.step,
                             report.skip_reason, report.grad_norm, report.samples[0], report.samples[1]));
    }
    const bool must_show = steps_seen_ == 1 || report.step == steps_;
    if (is_terminal_) {
      if (must_show || Clock::now() - drawn_at_ >= redraw_interval) draw_step_line(step_line(report));
    } else if (must_show || report.step % every_steps_ == 0) {
      print_line(step_line(report));
    }
  }

  void evaluation(const EvaluationReport& report) override {
    if (report.step > 0) evaluation_seconds_ += report.seconds;  // the one before the first step does not come again
    print_line(fmt::format("evaluation {}/{}  loss {}  {} tokens in {}", report.step, steps_, format_loss(report.loss),
                           format_count(report.tokens), format_seconds(report.seconds)),
               cyan);
  }

  void snapshot(const SnapshotReport& report) override {
    keep_step_line();  // a problem is told on stderr
    if (!report.saved) return;
    print_line(fmt::format("snapshot {}/{}  {} in {}", report.step, steps_,
                           format_bytes(static_cast<double>(report.bytes)), format_seconds(report.seconds)));
  }

  void end(const RunEnd& end) override {
    keep_step_line();
    const double rate = end.seconds > 0 ? static_cast<double>(end.tokens) / end.seconds : 0;
    print_line(
        fmt::format("done: {} steps, {} tokens in {}: {} tok/s, {} per rank", end.steps, format_count(end.tokens),
                    format_seconds(end.seconds), format_count(rate), format_count(rate / ranks_)),
        bold);
    if (!skipped_.empty()) print_line("skipped updates: " + format_counts(skipped_));
    print_line(compared("peak", end.planned_peak_bytes, end.peak_bytes_max, format_bytes));
    print_line(compared("step time", end.planned_step_seconds, end.median_step_seconds, format_seconds));
    print_line("weights_xxh3 " + end.weights_xxh3);
  }

 private:
  std::string step_line(const StepReport& report) const {
    const double step_seconds = latest_.mean(&StepReport::step_seconds);
    const double exposed = step_seconds > 0 ? latest_.mean(&StepReport::comm_exposed_seconds) / step_seconds : 0;
    const std::string total = std::to_string(steps_);
    std::string line =
        fmt::format("step {:>{}}/{}  loss {}  {} tok/s  peak {}  exposed {:.0f} %", report.step, total.size(), total,
                    format_loss(report.loss), format_count(latest_.tokens_per_second()),
                    format_bytes(report.peak_bytes_max), 100 * exposed);
    if (report.step < steps_) {
      const double with_evaluations = step_seconds + evaluation_seconds_ / static_cast<double>(steps_seen_);
      line += "  ETA " + format_seconds(static_cast<double>(steps_ - report.step) * with_evaluations);
    }
    if (const std::string straggler = latest_.straggler(); !straggler.empty()) line += "  " + straggler;
    if (!skipped_.empty()) line += "  skipped " + format_counts(skipped_);
    return line;
  }

  void print_line(const std::string& text, const char* style = nullptr) {
    if (has_step_line_) fmt::print(out_, "\r\x1b[K");  // the next step draws it again
    has_step_line_ = false;
    fmt::print(out_, "{}\n", style != nullptr && is_coloured_ ? fmt::format("\x1b[{}m{}\x1b[0m", style, text) : text);
    std::fflush(out_);
  }

  void draw_step_line(const std::string& text) {
    winsize size{};
    const bool is_known = ioctl(fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    // A character in the last column would make some terminals wrap.
    fmt::print(out_, "\r{}\x1b[K", is_known ? cut_text(text, size.ws_col - 1) : text);
    std::fflush(out_);
    has_step_line_ = true;
    drawn_at_ = Clock::now();
  }

  void keep_step_line() {
    if (!has_step_line_) return;
    fmt::print(out_, "\n");
    std::fflush(out_);
    has_step_line_ = false;
  }

  std::FILE* out_;
  int64_t every_steps_;
  bool is_terminal_, is_coloured_;
  int64_t steps_ = 0, steps_seen_ = 0;
  std::map<std::string, int64_t> skipped_;  // by reason
  int ranks_ = 1;
  double evaluation_seconds_ = 0;
  RecentSteps latest_;
  bool has_step_line_ = false;  // the cursor stands behind a step line drawn in place
  Clock::time_point drawn_at_{};
};

}  // namespace

std::unique_ptr<Sink> make_console(std::FILE* out, int64_t every_steps) {
  return std::make_unique<Console>(out, every_steps);
}

}  // namespace reprise
