#include "monitoring/json_lines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <system_error>

#include "monitoring/format.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& value) {
  if (!value.is_number_float()) return json_text(value);
  const double number = value;
  if (std::isnan(number)) return "\"NaN\"";
  if (std::isinf(number)) return number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr);
  // A reader must not take it for an integer, which has no minus zero.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

class JsonLines final : public Sink {
 public:
  explicit JsonLines(const std::string& path)
      : path_(path), file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) fail("cannot open");
  }
  ~JsonLines() override { close(file_); }
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  void start(const RunStart& run) override {
    write_line("start", JSON_FIELDS(run.run, run.model, run.plan, run.plan_origin, run.ranks, run.resumed_step,
                                    run.parameters, run.steps, run.global_sequences, run.micro_sequences, run.context,
                                    run.flops_per_token, run.planned_peak_bytes, run.planned_step_seconds));
  }

  void step(const StepReport& report) override {
    write_line("step", JSON_FIELDS(report.step, report.loss, report.grad_norm, report.learning_rate, report.tokens,
                                   report.skipped, report.loss_scale, report.step_seconds, report.data_seconds,
                                   report.forward_seconds, report.recompute_seconds, report.backward_seconds,
                                   report.optimizer_seconds, report.other_seconds, report.comm_seconds,
                                   report.comm_exposed_seconds, report.peak_bytes, report.peak_bytes_max,
                                   report.idle_bytes, report.planned_peak_bytes, report.planned_step_seconds));
  }

  void evaluation(const EvaluationReport& report) override {
    write_line("evaluation", JSON_FIELDS(report.step, report.loss, report.tokens, report.seconds));
  }

  void snapshot(const SnapshotReport& report) override {
    write_line("snapshot", JSON_FIELDS(report.step, report.saved, report.problem, report.bytes, report.seconds,
                                       report.stall_seconds));
  }

  void end(const RunEnd& end) override {
    ordered_json members =
        JSON_FIELDS(end.steps, end.tokens, end.skipped_steps, end.seconds, end.weights_xxh3, end.peak_bytes_max,
                    end.median_step_seconds, end.planned_peak_bytes, end.planned_step_seconds);
    if (end.planned_peak_bytes > 0) {
      members["peak_miss_percent"] = miss_percent(end.planned_peak_bytes, end.peak_bytes_max);
    }
    if (end.planned_step_seconds > 0) {
      members["step_miss_percent"] = miss_percent(end.planned_step_seconds, end.median_step_seconds);
    }
    write_line("end", members);
  }

 private:
  void write_line(const std::string& event, const ordered_json& members) {
    std::string line = fmt::format(R"({{"event": "{}", "time": {})", event, text_of(unix_seconds()));
    for (const auto& [name, value] : members.items()) {
      const bool has_no_plan = name.starts_with("planned_") && value == 0;
      if (!has_no_plan) line += fmt::format(R"(, "{}": {})", name, text_of(value));
    }
    line += "}\n";
    struct stat before {};
    if (fstat(file_, &before) != 0) fail("cannot write");
    ssize_t written = 0;
    do {
      written = write(file_, line.data(), line.size());
    } while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(line.size())) return;
    // A full disk may take a part of the line; what follows it in a later run must not be joined to that part.
    const int error = written < 0 ? errno : ENOSPC;
    (void)!ftruncate(file_, before.st_size);
    errno = error;
    fail("cannot write");
  }
  [[noreturn]] void fail(const char* what) const {
    throw std::system_error(errno, std::generic_category(), std::string(what) + " " + path_);
  }

  std::string path_;
  int file_;
};

}  // namespace

std::unique_ptr<Sink> make_json_lines(const std::string& path) { return std::make_unique<JsonLines>(path); }

}  // namespace reprise
