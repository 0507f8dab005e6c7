#include "launcher/saved_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "launcher/device.h"
#include "training/errors.h"
#include "training/safetensors.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

std::string first_existing(const fs::path& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (fs::exists(folder / name)) return (folder / name).string();
  }
  throw DataError(fmt::format("{}: expected a run with {}, got none", folder.string(), fmt::join(names, " or ")));
}

void copy_weights(const SafetensorsFile& file, const std::string& path, StageChain& model) {
  const ParameterTable& parameters = model.parameters();
  if (static_cast<int>(file.tensors.size()) != parameters.size()) {
    throw DataError(fmt::format("{}: expected {} tensors, got {}", path, parameters.size(), file.tensors.size()));
  }
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto found = file.tensors.find(parameter.name);
    if (found == file.tensors.end()) throw DataError(fmt::format("{}: the tensor {} is missing", path, parameter.name));
    const torch::Tensor& saved = found->second;
    if (saved.sizes() != c10::IntArrayRef(parameter.shape) || saved.scalar_type() != torch::kFloat32) {
      throw DataError(fmt::format("{}: {}: expected fp32 of shape {}, got {} of shape {}", path, parameter.name,
                                  fmt::join(parameter.shape, "x"), c10::toString(saved.scalar_type()),
                                  fmt::join(saved.sizes().vec(), "x")));
    }
    torch::Tensor value = parameter.master;
    value.copy_(saved);
  }
}

}  // namespace

SavedRun load_run(const std::string& path, int local_rank) {
  const std::string weights = first_existing(path, {"final/model.safetensors", "model.safetensors"});
  const std::string config = first_existing(path, {"config.yaml", "../config.yaml"});
  const SafetensorsFile file = read_safetensors(weights);
  SavedRun run;
  run.config = load_config(config, {}, false);
  const auto tokenizer = file.metadata.find("tokenizer");
  run.tokenizer = tokenizer == file.metadata.end() ? "bytes" : tokenizer->second;
  run.config.precision.compute = "fp32";  // whatever it was trained in, and on which device
  const int visible = visible_devices();
  const torch::Device device = visible > 0 ? use_device(device_of(local_rank, visible), /*tf32=*/false) : torch::kCPU;
  run.model = std::make_unique<StageChain>(run.config.model);
  run.weights = std::make_unique<FlatModel>(*run.model, false, torch::kFloat32, device);
  copy_weights(file, weights, *run.model);
  return run;
}

}  // namespace reprise
