#include "launcher/run_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "distributed/agreement.h"
#include "launcher/job.h"

namespace reprise {
namespace {

// A run that goes on keeps the traces of its earlier starts: rank 0 finds a folder without any.
std::string trace_path(const std::string& directory, Communicator& communicator) {
  std::string folder = directory + "/trace";
  for (int start = 2; communicator.rank() == 0 && std::filesystem::exists(folder + "/rank-0.json"); ++start) {
    folder = fmt::format("{}/trace/start-{}", directory, start);
  }
  folder = gather_texts(communicator, folder)[0];
  std::filesystem::create_directories(folder);
  return fmt::format("{}/rank-{}.json", folder, communicator.rank());
}

}  // namespace

RunTrace::RunTrace(const std::string& directory, const StageChain& model, Communicator& communicator)
    : model_(model),
      file_{trace_path(directory, communicator),
            communicator.rank(),
            communicator.describe(communicator.rank()),
            {"compute", "wire", "step"},
            clock_offset(communicator, now_seconds)} {}

void RunTrace::add(const StepReport& report, const Trainer& trainer) {
  enum Lane : size_t { compute, wire, step };
  for (const StageEvent& event : trainer.executor().record().events()) {
    file_.span(compute, fmt::format("{} {}", kEventNames[static_cast<size_t>(event.kind)], model_[event.stage].name),
               event.start_seconds, event.end_seconds);
    file_.counter("tensor MiB", event.end_seconds, static_cast<double>(event.live_bytes) / (1 << 20));
  }
  double free_from = 0;  // the next bucket fills the wire while the last bytes of its predecessor travel
  const std::vector<WireInterval>& buckets = trainer.reducer_times().buckets;
  for (size_t i = 0; i < buckets.size(); ++i) {
    const std::string name = fmt::format("bucket {}", i);
    const double started = std::max(buckets[i].started_seconds, free_from);
    file_.wait("buckets waiting", report.step * static_cast<int64_t>(buckets.size()) + static_cast<int64_t>(i), name,
               buckets[i].enqueued_seconds, started);
    file_.span(wire, name, started, buckets[i].finished_seconds);
    free_from = buckets[i].finished_seconds;
  }
  const double ended = report.start_seconds + report.step_seconds;
  file_.span(compute, "optimizer", ended - report.optimizer_seconds, ended);
  file_.span(step, fmt::format("step {}", report.step), report.start_seconds, ended);
  file_.flush();
}

}  // namespace reprise
