#include "launcher/run_snapshots.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "launcher/saved_run.h"

namespace reprise {
namespace {

constexpr double kSlowDisk = 100e6;    // bytes a second: what a disk is taken for until it has been measured
constexpr double kSlowestDisk = 10e6;  // slower than that it hangs

}  // namespace

std::unique_ptr<RunLock> lock_run(const Config& config) {
  const std::string& directory = config.run.directory;
  std::filesystem::create_directories(directory);
  const char* const job = std::getenv("SLURM_JOB_ID");
  try {
    auto lock =
        std::make_unique<RunLock>(directory + "/lock", LockOwner{read_host_facts().host, job ? job : "", getpid()});
    if (lock->lost_owner()) {
      fmt::print(stderr, "reprise: takes {} over from {}, which did not end in good order\n", directory,
                 lock->lost_owner()->text());
    }
    return lock;
  } catch (const RunInUse& error) {
    throw ConfigError(
        fmt::format("run.directory: expected a folder that nobody writes, got {}, which {} writes; wait "
                    "for its end, end it, or choose another run.name",
                    directory, error.what()));
  }
}

void fill_state(const StartPoint& start, const Config& config, Trainer& trainer, StageChain& model, FlatModel& flat,
                Communicator& communicator) {
  const bool is_resumed = !start.snapshot.empty();
  if (!is_resumed && config.run.init == "none") return flat.initialize(model, config.run.seed);
  const std::vector<FlatState> states = trainer.states();
  together_by_rank_0(communicator, [&] {
    if (is_resumed) {
      read_state(start.snapshot, start.manifest, model, flat.layout, states);
    } else {
      load_weights(config.run.init, model, flat);
    }
  });
  for (const FlatState& state : states) communicator.broadcast(state.flat, 0);
  trainer.resume(is_resumed ? start.manifest.progress : trainer.progress());  // computes on copies of what has come
}

double longest_disk_seconds(const Config& config, const FlatLayout& layout) {
  return first_save_seconds(layout) * kSlowDisk / kSlowestDisk * static_cast<double>(1 + config.snapshot.keep);
}

double first_save_seconds(const FlatLayout& layout) {
  return static_cast<double>(SnapshotWriter::host_bytes(layout, 1)) / kSlowDisk;
}

RunSnapshots::RunSnapshots(const Config& config, Communicator& communicator, const StageChain& model,
                           const FlatLayout& layout, const Trainer& trainer,
                           const std::map<std::string, std::string>& facts, const RunDirectory* directory,
                           int64_t attempt)
    : config_(config),
      trainer_(trainer),
      facts_(snapshot_facts(config, facts, communicator.size())),
      directory_(directory),
      longest_seconds_(longest_disk_seconds(config, layout)),
      save_seconds_(first_save_seconds(layout)),
      writer_(disk_, communicator, model, layout, trainer.states(),
              {.folder = snapshot_folder(config.run.directory),
               .suffix = fmt::format("{}-{}", config.run.name, attempt),
               .keep = config.snapshot.keep,
               .keep_every = config.snapshot.keep_every}) {}

void RunSnapshots::step_ended(const Tell& tell) {
  report(writer_.poll(), tell);
  if (is_due()) save(tell);
}

bool RunSnapshots::is_due() const {
  const int64_t step = trainer_.steps_done();
  return step % config_.snapshot.every_steps == 0 || step == config_.run.steps;
}

void RunSnapshots::save(const Tell& tell) {
  const double asked = now_seconds();
  trainer_.expect_long_wait(Phase::save, longest_seconds_);
  report(writer_.finish(), tell);
  trainer_.require_equal_replicas();
  Manifest manifest{trainer_.progress(), facts_, {}};
  if (directory_) manifest.facts["metrics_bytes"] = std::to_string(std::filesystem::file_size(directory_->metrics()));
  writer_.begin(std::move(manifest), directory_ ? directory_->texts() : std::map<std::string, std::string>());
  stall_seconds_ = now_seconds() - asked;
}

void RunSnapshots::finish(const Tell& tell) {
  trainer_.expect_long_wait(Phase::save, longest_seconds_);
  report(writer_.finish(), tell);
}

void RunSnapshots::report(std::optional<SnapshotReport> ended, const Tell& tell) {
  if (!ended) return;
  if (ended->saved) save_seconds_ = ended->seconds;
  ended->stall_seconds = stall_seconds_;
  tell(*ended);
}

}  // namespace reprise
