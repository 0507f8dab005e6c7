#include "launcher/saved_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "launcher/device.h"
#include "training/errors.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

std::string first_existing(const fs::path& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (fs::exists(folder / name)) return (folder / name).string();
  }
  throw DataError(fmt::format("{}: expected a run with {}, got none", folder.string(), fmt::join(names, " or ")));
}

}  // namespace

void load_weights(StageChain& model, const SafetensorsFile& file, const std::string& path) {
  const ParameterTable& parameters = model.parameters();
  std::vector<ExpectedTensor> expected;
  for (int i = 0; i < parameters.size(); ++i) expected.push_back({parameters[i].name, parameters[i].shape});
  require_tensors(path, file.tensors, expected);
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < parameters.size(); ++i) {
    torch::Tensor value = parameters[i].master;
    value.copy_(file.tensors.at(parameters[i].name));
  }
}

SavedRun load_run(const std::string& path, int local_rank) {
  const std::string weights = first_existing(path, {"final/model.safetensors", "model.safetensors"});
  const std::string config = first_existing(path, {"config.yaml", "../config.yaml"});
  const SafetensorsFile file = read_safetensors(weights);
  SavedRun run;
  run.config = load_config(config, {}, false);
  const auto tokenizer = file.metadata.find("tokenizer");
  run.tokenizer = tokenizer_in(fs::path(weights).parent_path().string(),
                               tokenizer == file.metadata.end() ? "bytes" : tokenizer->second);
  run.config.precision.compute = "fp32";  // whatever it was trained in, and on which device
  const int visible = visible_devices();
  const torch::Device device = visible > 0 ? use_device(device_of(local_rank, visible), /*tf32=*/false) : torch::kCPU;
  run.model = std::make_unique<StageChain>(run.config.model);
  run.weights = std::make_unique<FlatModel>(*run.model, false, torch::kFloat32, device);
  load_weights(*run.model, file, weights);
  return run;
}

}  // namespace reprise
