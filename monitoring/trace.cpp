#include "monitoring/trace.h"

#include <fmt/format.h>

#include <fstream>

#include "monitoring/json_text.h"

namespace reprise {

TraceFile::TraceFile(const std::string& path, int rank, const std::string& process,
                     const std::vector<std::string>& lanes, double offset_seconds)
    : path_(path), rank_(rank), offset_seconds_(offset_seconds), file_(std::fopen(path.c_str(), "w")) {
  if (!file_) throw_system_error("cannot open " + path_);
  // An array with one event a line; the viewers take it without its end.
  const auto meta = [&](const std::string& event, size_t lane, const std::string& name) {
    return fmt::format(R"({{"ph": "M", "name": "{}", "pid": {}, "tid": {}, "args": {{"name": {}}}}})", event, rank_,
                       lane, json_text(name));
  };
  if (std::fputs("[\n", file_.get()) < 0) throw_system_error("cannot write " + path_);
  write(meta("process_name", 0, process));
  for (size_t lane = 0; lane < lanes.size(); ++lane) write(meta("thread_name", lane, lanes[lane]));
}

std::string TraceFile::common(char phase, const std::string& name, double seconds) const {
  return fmt::format(R"("ph": "{}", "name": {}, "pid": {}, "ts": {:.3f})", phase, json_text(name), rank_,
                     1e6 * (seconds + offset_seconds_));
}

void TraceFile::span(size_t lane, const std::string& name, double start_seconds, double end_seconds) {
  write(fmt::format(R"({{{}, "tid": {}, "dur": {:.3f}}})", common('X', name, start_seconds), lane,
                    1e6 * (end_seconds - start_seconds)));
}

void TraceFile::wait(const std::string& group, int64_t id, const std::string& name, double start_seconds,
                     double end_seconds) {
  const std::string where = fmt::format(R"("cat": {}, "id": "{}.{}", "tid": 0)", json_text(group), rank_, id);
  write(fmt::format("{{{}, {}}}", common('b', name, start_seconds), where));
  write(fmt::format("{{{}, {}}}", common('e', name, end_seconds), where));
}

void TraceFile::counter(const std::string& name, double seconds, double value) {
  write(fmt::format(R"({{{}, "args": {{"value": {:.6g}}}}})", common('C', name, seconds), value));
}

void TraceFile::flush() {
  if (std::fflush(file_.get()) != 0) throw_system_error("cannot write " + path_);
}

void TraceFile::write(const std::string& event) {
  if (std::fprintf(file_.get(), "%s,\n", event.c_str()) < 0) throw_system_error("cannot write " + path_);
}

void merge_traces(const std::vector<std::string>& inputs, const std::string& output) {
  std::vector<std::string> events;
  for (const std::string& path : inputs) {
    std::ifstream file(path);
    if (!file) throw_system_error("cannot open " + path);
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      const bool is_torn = file.eof();
      if (number == 1 && line == "[") continue;
      if (line.ends_with(',')) line.pop_back();
      if (nlohmann::json::accept(line) && line.starts_with('{')) {
        events.push_back(line);
      } else if (!is_torn) {
        throw DamagedFile(fmt::format("{}:{}: expected a trace event, got {:.60}", path, number, line));
      }
    }
  }
  std::ofstream file(output);
  file << "[\n" << fmt::format("{}", fmt::join(events, ",\n")) << "\n]\n";
  file.close();
  if (!file) throw_system_error("cannot write " + output);
}

}  // namespace reprise
