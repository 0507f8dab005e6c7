#include "launcher/start_point.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "distributed/agreement.h"
#include "launcher/job.h"
#include "launcher/run_directory.h"
#include "training/errors.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;
using Facts = std::map<std::string, std::string>;

// Settings and facts that do not decide what is computed, by prefix: how the work is split, watched and kept, and what
// trouble does, which a person may change to go on after it.
constexpr std::string_view kSystem[] = {"run.name",        "run.max_",
                                        "run.device",      "run.overwrite",
                                        "run.init",        "batch.micro_",
                                        "checkpointing.",  "distributed.",
                                        "monitoring.",     "snapshot.",
                                        "build",           "threads",
                                        "validation data", "ranks",
                                        "metrics_bytes",   "model.head_chunk_tokens",
                                        "optimizer.on_",   "optimizer.spike_",
                                        "optimizer.skip_"};

bool is_mathematical(const std::string& key, const Config& config) {
  if (key == "run.steps") return config.optimizer.schedule != Schedule::constant;  // else no update depends on it
  return std::ranges::none_of(kSystem, [&](std::string_view prefix) { return key.starts_with(prefix); });
}

void require_same_mathematics(const std::string& snapshot, const Facts& saved, const Facts& now, const Config& config) {
  std::vector<std::string> differences;
  std::string table;
  for (const auto& [key, value] : now) {
    const auto found = saved.find(key);
    const std::string before = found == saved.end() ? "nothing" : found->second;
    if (before == value || !is_mathematical(key, config)) continue;
    differences.push_back(fmt::format("{} was {}, is {}", key, before, value));
    table += fmt::format("  {:<28} {:<28} {}\n", key, before, value);
  }
  if (differences.empty()) return;
  fmt::print(stderr, "  {:<28} {:<28} {}\n{}", "setting", "snapshot", "now", table);
  throw ConfigError(fmt::format(
      "{} cannot go on with other settings: {}. Restore them, take another run.name (and run.init for its weights), "
      "or set run.overwrite=true to begin anew",
      snapshot, fmt::join(differences, "; ")));
}

// The newest good snapshot of a store; nothing when there is none at all.
std::optional<SnapshotStore::Found> newest_of(const std::string& folder, const std::string& advice) {
  Disk disk;
  const SnapshotStore store(disk, folder);
  const auto reject = [&](const std::string& name, const std::string& reason) {
    fmt::print(stderr, "reprise: {} is rejected: {}\n", name, reason);
  };
  std::optional<SnapshotStore::Found> found = store.newest_good(reject);
  if (!found && !store.steps().empty()) {
    throw DataError(fmt::format("{}: none of its {} snapshots is good; {}", folder, store.steps().size(), advice));
  }
  return found;
}

// snapshot.resume: PATH; a snapshot, a run, or a run's folder of snapshots.
SnapshotStore::Found snapshot_at(const std::string& path) {
  if (fs::exists(path + "/manifest.json")) return {path, verify_snapshot(Disk(), path)};
  return newest_snapshot(path);
}

// A run that was ended before its first snapshot may be begun again over what it left: a job that comes back must not
// wait for a person. It has to be this run.
bool may_begin_again(const Config& config, const Facts& now) {
  const std::string& directory = config.run.directory;
  const bool is_unfinished = fs::exists(directory + "/config.yaml") && !fs::exists(directory + "/final");
  if (config.snapshot.every_steps == 0 || !is_unfinished) return false;
  try {
    const Facts before = agreement_fields(load_config(directory + "/config.yaml", {}, false));
    return std::ranges::all_of(before, [&](const auto& field) {
      const auto found = now.find(field.first);
      return !is_mathematical(field.first, config) || (found != now.end() && found->second == field.second);
    });
  } catch (const ConfigError&) {
    return false;
  }
}

// What a run begins from must not go with the run that it replaces.
void require_outside(const std::string& directory, const char* key, const std::string& path) {
  const fs::path way = fs::relative(path, directory);
  if (way.empty() || *way.begin() == "..") return;
  throw ConfigError(
      fmt::format("{}: expected a path outside of {}, which run.overwrite=true removes, got {}", key, directory, path));
}

// Slurm starts a job again with the same command, which is not to remove what the starts before have saved.
bool is_first_start() {
  const char* const restarts = std::getenv("SLURM_RESTART_COUNT");
  return !restarts || std::atoi(restarts) == 0;
}

StartPoint look(const Config& config, const Facts& now) {
  const std::string &directory = config.run.directory, &resume = config.snapshot.resume;
  const bool is_kept = config.run.overwrite && !is_first_start() && fs::exists(snapshot_folder(directory));
  const bool resumes = config.run.overwrite ? is_kept : resume != "never";
  if (is_kept) {
    fmt::print(stderr, "reprise: Slurm starts this job again: run.overwrite spares what is saved in {}\n", directory);
  }
  std::optional<SnapshotStore::Found> found;
  if (resumes) found = newest_of(snapshot_folder(directory), "set run.overwrite=true to begin anew");
  const bool continues = found.has_value();
  if (!continues && config.run.overwrite) {
    if (config.run.init != "none") require_outside(directory, "run.init", config.run.init);
    if (resume != "auto" && resume != "never") require_outside(directory, "snapshot.resume", resume);
  } else if (!continues && resumes && may_begin_again(config, now)) {
    fmt::print(stderr, "reprise: begins anew in {}, where a run was ended before its first snapshot\n", directory);
  } else if (!continues) {
    RunDirectory::require_free(config);
  }
  if (!continues && resume != "auto" && resume != "never") found = snapshot_at(resume);
  if (!found) return {};
  require_same_mathematics(found->path, found->manifest.facts, now, config);
  return {continues, found->path, found->manifest};
}

// What every rank needs of it: not the hashes, and of the facts what `auto` had become.
std::string share_text(const StartPoint& start) {
  Manifest manifest = start.manifest;
  manifest.files.clear();
  return fmt::format("{}\n{}\n{}", start.continues ? 1 : 0, start.snapshot, format_manifest(manifest));
}

StartPoint parse_share(const std::string& text) {
  const size_t first = text.find('\n'), second = text.find('\n', first + 1);
  return {text.starts_with('1'), text.substr(first + 1, second - first - 1), parse_manifest(text.substr(second + 1))};
}

void keep_choices(Config& config, const Facts& saved) {
  for (const char* key : {"batch.micro_sequences", "distributed.bucket_bytes", "distributed.first_bucket_bytes"}) {
    const auto was = saved.find(key);
    if (was != saved.end() && agreement_fields(config).at(key) == "auto") {
      read_override(config, fmt::format("{}={}", key, was->second));
    }
  }
}

}  // namespace

SnapshotStore::Found newest_snapshot(const std::string& path) {
  const std::string folder = fs::is_directory(snapshot_folder(path)) ? snapshot_folder(path) : path;
  const auto found = newest_of(folder, "name another run or snapshot");
  if (!found) throw DataError(fmt::format("{}: expected a snapshot or a run with one, got none", path));
  return *found;
}

Facts snapshot_facts(const Config& config, const Facts& facts, int ranks) {
  Facts all = agreement_fields(config);
  all.insert(facts.begin(), facts.end());
  all["ranks"] = std::to_string(ranks);
  all["tokenizer"] = fs::path(config.tokenizer).filename().string();
  return all;
}

StartPoint find_start(Communicator& communicator, Config& config, const Facts& facts) {
  const Facts now = snapshot_facts(config, facts, communicator.size());
  StartPoint start;
  together_by_rank_0(communicator, [&] { start = look(config, now); });
  const std::vector<FileFacts> files = start.manifest.files;
  start = parse_share(gather_texts(communicator, communicator.rank() == 0 ? share_text(start) : "")[0]);
  start.manifest.files = files;
  if (!start.snapshot.empty() && start.manifest.fact("ranks") == now.at("ranks")) {
    keep_choices(config, start.manifest.facts);
  }
  return start;
}

}  // namespace reprise
