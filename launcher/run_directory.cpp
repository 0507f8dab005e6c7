#include "launcher/run_directory.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "launcher/cost_file.h"
#include "launcher/plan_page.h"
#include "training/errors.h"
#include "training/file_system.h"
#include "training/safetensors.h"
#include "training/snapshot_store.h"
#include "training/tokenizer.h"

namespace reprise {

static constexpr const char* kFiles[] = {"config.yaml", "plan.json", "costs.json", "metrics.jsonl", "loss.svg",
                                         "trace",       "snapshots", "final",      "tokenizer.json"};

static constexpr const char* kTargets = "/prometheus_sd.json";

// Cuts a file of lines back to `bytes` bytes, and to whole lines where it is shorter already.
static void cut_lines(const std::string& path, int64_t bytes) {
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<size_t>(bytes), '\0');
  text.resize(static_cast<size_t>(file.read(text.data(), bytes).gcount()));
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0: no whole line
  if (std::filesystem::exists(path)) std::filesystem::resize_file(path, text.size());
}

void RunDirectory::require_free(const Config& config) {
  for (const char* name : kFiles) {
    if (!std::filesystem::exists(config.run.directory + "/" + name)) continue;
    throw ConfigError(
        fmt::format("run.directory: expected a folder without a run, got {} with {}; choose another "
                    "run.name, or set run.overwrite=true to replace it",
                    config.run.directory, name));
  }
}

RunDirectory::RunDirectory(const Config& config, const StartPoint& start) : path_(config.run.directory) {
  std::filesystem::create_directories(path_);
  Disk disk;
  disk.sync_folder(path_ + "/..");  // whose entry it is
  if (start.continues) {
    cut_lines(metrics(), std::stoll(start.manifest.fact("metrics_bytes")));
    std::filesystem::remove_all(path_ + "/final");
    SnapshotStore(disk, snapshot_folder(path_)).sweep();
  } else {
    for (const char* name : kFiles) std::filesystem::remove_all(path_ + "/" + name);
  }
  copy_tokenizer(config.tokenizer, path_);        // now, for the data may be gone when the weights are there
  std::filesystem::remove_all(path_ + kTargets);  // of a run that was killed
  write_durably(path_ + "/config.yaml", to_yaml(config, false));
}

RunDirectory::~RunDirectory() {
  std::error_code error;  // too late to tell anyone
  std::filesystem::remove(path_ + kTargets, error);
}

void RunDirectory::write_targets(const std::string& run, const std::vector<std::string>& addresses) const {
  nlohmann::ordered_json groups = nlohmann::ordered_json::array();
  for (size_t rank = 0; rank < addresses.size(); ++rank) {
    if (addresses[rank].empty()) continue;
    groups.push_back({{"targets", {addresses[rank]}}, {"labels", {{"run", run}, {"rank", std::to_string(rank)}}}});
  }
  if (!groups.empty()) write_durably(path_ + kTargets, groups.dump(1) + "\n");
}

void RunDirectory::write_plan(const CostTable& costs, const PlannedStep& step) const {
  nlohmann::ordered_json json = plan_json(step);
  json["origin"] = step.plan.origin;
  json["strip"] = strip_of(step.plan);
  write_durably(path_ + "/plan.json", json.dump(1) + "\n");
  write_durably(path_ + "/costs.json", format_costs(costs));
}

JsonLinesReader open_metrics(const std::string& directory) {
  JsonLinesReader reader(directory + "/metrics.jsonl");
  if (!std::filesystem::is_regular_file(directory + "/metrics.jsonl")) {
    throw DataError(fmt::format("{}: expected the directory of a run, with metrics.jsonl, got none", directory));
  }
  reader.read();
  return reader;
}

std::map<std::string, std::string> RunDirectory::texts() const {
  std::map<std::string, std::string> texts;
  for (const char* name : {"config.yaml", "plan.json", "tokenizer.json"}) {
    std::ifstream file(path_ + "/" + name, std::ios::binary);
    if (file) texts[name].assign(std::istreambuf_iterator<char>(file), {});
  }
  return texts;
}

void RunDirectory::replay(Sink& sink) const {
  const JsonLinesReader reader = open_metrics(path_);
  for (const StepReport& report : reader.history().steps) sink.step(report);
  for (const EvaluationReport& report : reader.history().evaluations) sink.evaluation(report);
}

void RunDirectory::write_weights(const StageChain& model, const std::string& tokenizer) const {
  std::filesystem::create_directories(path_ + "/final");
  const std::string kept = tokenizer_in(path_, std::filesystem::path(tokenizer).filename().string());
  const std::string name = copy_tokenizer(kept, path_ + "/final");
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    tensors.push_back({parameter.name, parameter.master.detach().cpu()});
  }
  write_safetensors(path_ + "/final/model.safetensors", tensors, {{"format", "pt"}, {"tokenizer", name}});
}

}  // namespace reprise
