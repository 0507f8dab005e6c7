#include "launcher/run_directory.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launcher/plan_page.h"
#include "training/durable_file.h"
#include "training/errors.h"
#include "training/safetensors.h"

namespace reprise {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {"config.yaml", "plan.json", "metrics.jsonl", "loss.svg", "trace", "final"};

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw StorageError(fmt::format("{}: cannot make the folder: {}", path, error.message()));
}

}  // namespace

RunDirectory::RunDirectory(const Config& config) : path_(config.run.directory) {
  for (const char* name : kFiles) {
    const fs::path file = fs::path(path_) / name;
    if (!fs::exists(file)) continue;
    if (!config.run.overwrite) {
      throw ConfigError(
          fmt::format("run.directory: expected a folder without a run, got {} with {}; choose another "
                      "run.name, or set run.overwrite=true to replace it",
                      path_, name));
    }
    std::error_code error;
    fs::remove_all(file, error);
    if (error) throw StorageError(fmt::format("{}: cannot remove it: {}", file.string(), error.message()));
  }
  make_folder(path_);
  write_durably(path_ + "/config.yaml", to_yaml(config, false));
}

void RunDirectory::write_choices(const Config& config, const PlannedStep& step) const {
  write_durably(path_ + "/config.yaml", to_yaml(config, false));
  nlohmann::ordered_json json = plan_json(step);
  json["origin"] = step.plan.origin;
  json["strip"] = strip_of(step.plan);
  write_durably(path_ + "/plan.json", json.dump(1) + "\n");
}

void RunDirectory::write_weights(const StageChain& model, const std::string& tokenizer) const {
  make_folder(path_ + "/final");
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    tensors.push_back({parameter.name, parameter.value.detach()});
  }
  write_safetensors(path_ + "/final/model.safetensors", tensors, {{"format", "pt"}, {"tokenizer", tokenizer}});
}

}  // namespace reprise
