#include "monitoring/json_lines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <fstream>

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

// The members of a line, written and read alike.
#define START_FIELDS(r)                                                                                          \
  r.run, r.model, r.plan, r.plan_origin, r.ranks, r.resumed_step, r.parameters, r.steps, r.global_sequences,     \
      r.micro_sequences, r.context, r.flops_per_token, r.planned_peak_bytes, r.planned_step_seconds, r.restarts, \
      r.budget_bytes
#define STEP_FIELDS(r)                                                                                                 \
  r.step, r.loss, r.grad_norm, r.learning_rate, r.tokens, r.samples, r.skipped, r.skip_reason, r.loss_scale,           \
      r.step_seconds, r.data_seconds, r.forward_seconds, r.recompute_seconds, r.backward_seconds, r.optimizer_seconds, \
      r.other_seconds, r.comm_seconds, r.comm_exposed_seconds, r.peak_bytes, r.peak_bytes_max, r.idle_bytes,           \
      r.planned_peak_bytes, r.planned_step_seconds
#define SPREAD_FIELDS(r) r.min, r.median, r.max, r.max_rank
#define EVALUATION_FIELDS(r) r.step, r.loss, r.tokens, r.seconds
#define SNAPSHOT_FIELDS(r) r.step, r.saved, r.problem, r.bytes, r.seconds, r.stall_seconds
#define END_FIELDS(r)                                                                                     \
  r.steps, r.tokens, r.skipped_steps, r.seconds, r.weights_xxh3, r.peak_bytes_max, r.median_step_seconds, \
      r.planned_peak_bytes, r.planned_step_seconds

class JsonLines final : public Sink {
 public:
  explicit JsonLines(const std::string& path)
      : path_(path), file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) throw_system_error("cannot open " + path_);
  }
  ~JsonLines() override { close(file_); }
  JsonLines(const JsonLines&) = delete;

  void start(const RunStart& run) override { write_line("start", JSON_FIELDS(START_FIELDS(run))); }
  void step(const StepReport& report) override {
    ordered_json members = JSON_FIELDS(STEP_FIELDS(report));
    for (const auto& [name, spread] : kRankSpreads) {
      members["ranks"][fmt::format("{}_seconds", name)] = JSON_FIELDS(SPREAD_FIELDS((report.*spread)));
    }
    write_line("step", members);
  }
  void evaluation(const EvaluationReport& report) override {
    write_line("evaluation", JSON_FIELDS(EVALUATION_FIELDS(report)));
  }
  void snapshot(const SnapshotReport& report) override { write_line("snapshot", JSON_FIELDS(SNAPSHOT_FIELDS(report))); }
  void end(const RunEnd& end) override {
    ordered_json members = JSON_FIELDS(END_FIELDS(end));
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
      const bool is_absent = (name.starts_with("planned_") && value == 0) || (name == "skip_reason" && value == "");
      if (!is_absent) line += fmt::format(R"(, "{}": {})", name, text_of(value));
    }
    line += "}\n";
    struct stat before {};
    if (fstat(file_, &before) != 0) throw_system_error("cannot write " + path_);
    ssize_t written = 0;
    do {
      written = write(file_, line.data(), line.size());
    } while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(line.size())) return;
    // A full disk may take a part of the line; what follows it in a later run must not be joined to that part.
    const int error = written < 0 ? errno : ENOSPC;
    (void)!ftruncate(file_, before.st_size);
    errno = error;
    throw_system_error("cannot write " + path_);
  }

  const std::string path_;
  const int file_;
};

}  // namespace

std::unique_ptr<Sink> make_json_lines(const std::string& path) { return std::make_unique<JsonLines>(path); }

bool JsonLinesReader::read() {
  errno = 0;
  std::ifstream file(path_, std::ios::binary);
  std::string found(last_line_.size(), '\0');
  file.seekg(end_ - std::ssize(found)).read(found.data(), std::ssize(found));
  bool has_changed = false;
  if (!file || found != last_line_) {  // each line has its own time, so that equal bytes are the same line
    *this = JsonLinesReader(path_);
    file.clear();
    file.seekg(0);
    has_changed = true;
  }
  for (std::string line; std::getline(file, line) && !file.eof();) {  // without a line end it is still being written
    ++lines_;
    take(line);
    last_line_ = line + '\n';
    end_ += std::ssize(last_line_);
    has_changed = true;
  }
  if (!file.is_open() || file.bad()) throw_system_error("cannot read " + path_);
  return has_changed;
}

void JsonLinesReader::take(const std::string& line) {
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    const std::string event = json.at("event");
    if (event == "start") {
      RunStart& run = history_.run = {};
      READ_JSON_FIELDS(json, START_FIELDS(run));
      const auto is_taken_back = [&](const auto& report) { return report.step > run.resumed_step; };
      std::erase_if(history_.steps, is_taken_back);
      std::erase_if(history_.evaluations, is_taken_back);
      history_.end.reset();
    } else if (event == "step") {
      StepReport& step = history_.steps.emplace_back();
      READ_JSON_FIELDS(json, STEP_FIELDS(step));
      for (const auto& [name, spread] : kRankSpreads) {
        const auto ranks = nlohmann::json::json_pointer(fmt::format("/ranks/{}_seconds", name));
        if (json.contains(ranks)) READ_JSON_FIELDS(json[ranks], SPREAD_FIELDS((step.*spread)));
      }
    } else if (event == "evaluation") {
      EvaluationReport& report = history_.evaluations.emplace_back();
      READ_JSON_FIELDS(json, EVALUATION_FIELDS(report));
    } else if (event == "snapshot") {
      SnapshotReport& report = history_.snapshots.emplace_back();
      READ_JSON_FIELDS(json, SNAPSHOT_FIELDS(report));
    } else if (event == "end") {
      RunEnd& end = history_.end.emplace();
      READ_JSON_FIELDS(json, END_FIELDS(end));
    }
  } catch (const nlohmann::json::exception& error) {
    throw DamagedFile(
        fmt::format("{}:{}: expected an event of a run, got {} ({})", path_, lines_, cut_text(line, 60), error.what()));
  }
}

}  // namespace reprise
