#include "monitoring/json_lines.h"

#include <fcntl.h>
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

double unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()) * 1e-6;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string shortest(double value) {
  if (std::isnan(value)) return "\"NaN\"";
  if (std::isinf(value)) return value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  // A reader must not take it for an integer, which has no minus zero.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// One object; the members stand in the order of the calls.
class Object {
 public:
  explicit Object(const std::string& event) { add_raw("event", quoted(event)).add("time", unix_seconds()); }
  Object& add(const char* name, double value) { return add_raw(name, shortest(value)); }
  Object& add(const char* name, int64_t value) { return add_raw(name, std::to_string(value)); }
  Object& add(const char* name, uint64_t value) { return add_raw(name, std::to_string(value)); }
  Object& add(const char* name, bool value) { return add_raw(name, value ? "true" : "false"); }
  Object& add(const char* name, const std::string& value) { return add_raw(name, quoted(value)); }
  Object& add_plan(uint64_t peak_bytes, double step_seconds) {
    if (peak_bytes > 0) add("planned_peak_bytes", peak_bytes);
    if (step_seconds > 0) add("planned_step_seconds", step_seconds);
    return *this;
  }
  std::string line() const { return text_ + "}\n"; }

 private:
  Object& add_raw(const char* name, const std::string& value) {
    text_ += (text_.empty() ? "{\"" : ", \"") + std::string(name) + "\": " + value;
    return *this;
  }
  std::string text_;
};

class JsonLines final : public Sink {
 public:
  explicit JsonLines(const std::string& path)
      : path_(path), file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) fail("cannot open");
  }
  ~JsonLines() override { close(file_); }
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  void start(const RunStart& run) override;
  void step(const StepReport& report) override;
  void evaluation(const EvaluationReport& report) override;
  void end(const RunEnd& end) override;

 private:
  void write_line(const std::string& line);
  [[noreturn]] void fail(const char* what) const {
    throw std::system_error(errno, std::generic_category(), std::string(what) + " " + path_);
  }

  std::string path_;
  int file_;
};

void JsonLines::start(const RunStart& run) {
  write_line(Object("start")
                 .add("run", run.run)
                 .add("model", run.model)
                 .add("plan", run.plan)
                 .add("plan_origin", run.plan_origin)
                 .add("ranks", static_cast<int64_t>(run.ranks))
                 .add("parameters", run.parameters)
                 .add("steps", run.steps)
                 .add("global_sequences", run.global_sequences)
                 .add("micro_sequences", run.micro_sequences)
                 .add("context", run.context)
                 .add("flops_per_token", run.flops_per_token)
                 .add_plan(run.planned_peak_bytes, run.planned_step_seconds)
                 .line());
}

void JsonLines::step(const StepReport& report) {
  write_line(Object("step")
                 .add("step", report.step)
                 .add("loss", report.loss)
                 .add("grad_norm", report.grad_norm)
                 .add("learning_rate", report.learning_rate)
                 .add("tokens", report.tokens)
                 .add("skipped", report.skipped)
                 .add("loss_scale", report.loss_scale)
                 .add("step_seconds", report.step_seconds)
                 .add("data_seconds", report.data_seconds)
                 .add("forward_seconds", report.forward_seconds)
                 .add("recompute_seconds", report.recompute_seconds)
                 .add("backward_seconds", report.backward_seconds)
                 .add("optimizer_seconds", report.optimizer_seconds)
                 .add("other_seconds", report.other_seconds)
                 .add("comm_seconds", report.comm_seconds)
                 .add("comm_exposed_seconds", report.comm_exposed_seconds)
                 .add("peak_bytes", report.peak_bytes)
                 .add("peak_bytes_max", report.peak_bytes_max)
                 .add_plan(report.planned_peak_bytes, report.planned_step_seconds)
                 .line());
}

void JsonLines::evaluation(const EvaluationReport& report) {
  write_line(Object("evaluation")
                 .add("step", report.step)
                 .add("loss", report.loss)
                 .add("tokens", report.tokens)
                 .add("seconds", report.seconds)
                 .line());
}

void JsonLines::end(const RunEnd& end) {
  Object object("end");
  object.add("steps", end.steps)
      .add("tokens", end.tokens)
      .add("skipped_steps", end.skipped_steps)
      .add("seconds", end.seconds)
      .add("weights_xxh3", end.weights_xxh3)
      .add("peak_bytes_max", end.peak_bytes_max)
      .add("median_step_seconds", end.median_step_seconds)
      .add_plan(end.planned_peak_bytes, end.planned_step_seconds);
  if (end.planned_peak_bytes > 0) {
    object.add("peak_miss_percent",
               miss_percent(static_cast<double>(end.planned_peak_bytes), static_cast<double>(end.peak_bytes_max)));
  }
  if (end.planned_step_seconds > 0) {
    object.add("step_miss_percent", miss_percent(end.planned_step_seconds, end.median_step_seconds));
  }
  write_line(object.line());
}

void JsonLines::write_line(const std::string& line) {
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

}  // namespace

std::unique_ptr<Sink> make_json_lines(const std::string& path) { return std::make_unique<JsonLines>(path); }

}  // namespace reprise
