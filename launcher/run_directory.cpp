#include "launcher/run_directory.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launcher/plan_page.h"
#include "training/durable_file.h"
#include "training/safetensors.h"

namespace reprise {

static constexpr const char* kFiles[] = {"config.yaml", "plan.json", "metrics.jsonl", "loss.svg", "trace", "final"};

void RunDirectory::require_free(const Config& config) {
  if (config.run.overwrite) return;
  for (const char* name : kFiles) {
    if (!std::filesystem::exists(config.run.directory + "/" + name)) continue;
    throw ConfigError(
        fmt::format("run.directory: expected a folder without a run, got {} with {}; choose another "
                    "run.name, or set run.overwrite=true to replace it",
                    config.run.directory, name));
  }
}

RunDirectory::RunDirectory(const Config& config) : path_(config.run.directory) {
  require_free(config);
  for (const char* name : kFiles) remove_all(path_ + "/" + name);
  make_folder(path_);
  write_durably(path_ + "/config.yaml", to_yaml(config, false));
}

void RunDirectory::write_plan(const PlannedStep& step) const {
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
    tensors.push_back({parameter.name, parameter.master.detach().cpu()});
  }
  write_safetensors(path_ + "/final/model.safetensors", tensors, {{"format", "pt"}, {"tokenizer", tokenizer}});
}

}  // namespace reprise
