#include "monitoring/json_lines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>

namespace reprise {
namespace {

using nlohmann::ordered_json;

double unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()) * 1e-6;
}

std::string text_of(const ordered_json& value) {
  if (!value.is_number_float()) return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  const double number = value;
  if (std::isnan(number)) return "\"NaN\"";
  if (std::isinf(number)) return number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr);
  // A reader must not take it for an integer, which has no minus zero.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

ordered_json with_plan(ordered_json members, uint64_t peak_bytes, double step_seconds) {
  if (peak_bytes > 0) members["planned_peak_bytes"] = peak_bytes;
  if (step_seconds > 0) members["planned_step_seconds"] = step_seconds;
  return members;
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
    const ordered_json members{{"run", run.run},
                               {"model", run.model},
                               {"plan", run.plan},
                               {"plan_origin", run.plan_origin},
                               {"ranks", run.ranks},
                               {"parameters", run.parameters},
                               {"steps", run.steps},
                               {"global_sequences", run.global_sequences},
                               {"micro_sequences", run.micro_sequences},
                               {"context", run.context},
                               {"flops_per_token", run.flops_per_token}};
    write_line("start", with_plan(members, run.planned_peak_bytes, run.planned_step_seconds));
  }

  void step(const StepReport& report) override {
    const ordered_json members{{"step", report.step},
                               {"loss", report.loss},
                               {"grad_norm", report.grad_norm},
                               {"learning_rate", report.learning_rate},
                               {"tokens", report.tokens},
                               {"skipped", report.skipped},
                               {"loss_scale", report.loss_scale},
                               {"step_seconds", report.step_seconds},
                               {"data_seconds", report.data_seconds},
                               {"forward_seconds", report.forward_seconds},
                               {"recompute_seconds", report.recompute_seconds},
                               {"backward_seconds", report.backward_seconds},
                               {"optimizer_seconds", report.optimizer_seconds},
                               {"other_seconds", report.other_seconds},
                               {"comm_seconds", report.comm_seconds},
                               {"comm_exposed_seconds", report.comm_exposed_seconds},
                               {"peak_bytes", report.peak_bytes},
                               {"peak_bytes_max", report.peak_bytes_max}};
    write_line("step", with_plan(members, report.planned_peak_bytes, report.planned_step_seconds));
  }

  void evaluation(const EvaluationReport& report) override {
    write_line("evaluation",
               {{"step", report.step}, {"loss", report.loss}, {"tokens", report.tokens}, {"seconds", report.seconds}});
  }

  void end(const RunEnd& end) override {
    const ordered_json members{{"steps", end.steps},
                               {"tokens", end.tokens},
                               {"skipped_steps", end.skipped_steps},
                               {"seconds", end.seconds},
                               {"weights_xxh3", end.weights_xxh3},
                               {"peak_bytes_max", end.peak_bytes_max},
                               {"median_step_seconds", end.median_step_seconds}};
    ordered_json all = with_plan(members, end.planned_peak_bytes, end.planned_step_seconds);
    const double planned_peak = static_cast<double>(end.planned_peak_bytes);
    if (planned_peak > 0)
      all["peak_miss_percent"] = miss_percent(planned_peak, static_cast<double>(end.peak_bytes_max));
    if (end.planned_step_seconds > 0) {
      all["step_miss_percent"] = miss_percent(end.planned_step_seconds, end.median_step_seconds);
    }
    write_line("end", all);
  }

 private:
  void write_line(const std::string& event, const ordered_json& members) {
    std::string line = fmt::format(R"({{"event": "{}", "time": {})", event, text_of(unix_seconds()));
    for (const auto& [name, value] : members.items()) line += fmt::format(R"(, "{}": {})", name, text_of(value));
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
