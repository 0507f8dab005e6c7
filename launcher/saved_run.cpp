#include "launcher/saved_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <optional>

#include "launcher/device.h"
#include "launcher/start_point.h"
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

// Where the weights of a run, a snapshot or an imported model lie.
struct Weights {
  std::string folder, path;  // path: of the file, or the snapshot's folder again
  std::string tokenizer;     // as tokenizer_in() wants it
  std::optional<Manifest> snapshot;

  explicit Weights(const std::string& given) : folder(given), path(given) {
    Disk disk;
    const bool is_finished = fs::exists(given + "/final/model.safetensors");
    if (!is_finished && fs::is_directory(snapshot_folder(given))) folder = path = newest_snapshot(given).path;
    if (fs::exists(folder + "/manifest.json")) {
      snapshot = verify_snapshot(disk, folder);
      tokenizer = snapshot->fact("tokenizer");
      return;
    }
    path = first_existing(given, {"final/model.safetensors", "model.safetensors"});
    folder = fs::path(path).parent_path().string();
    const auto metadata = read_safetensors(path).metadata;
    const auto found = metadata.find("tokenizer");
    tokenizer = found == metadata.end() ? "bytes" : found->second;
  }
};

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

void load_weights(const std::string& path, StageChain& model, FlatModel& flat) {
  const Weights weights(path);
  if (weights.snapshot) {
    read_state(weights.path, *weights.snapshot, model, flat.layout, {{"parameters", flat.parameters}});
  } else {
    load_weights(model, read_safetensors(weights.path), weights.path);
  }
  if (flat.computed.defined()) flat.computed.copy_(flat.parameters);
}

SavedRun load_run(const std::string& path, int local_rank) {
  const Weights weights(path);
  SavedRun run;
  run.config = load_config(first_existing(weights.folder, {"config.yaml", "../config.yaml"}), {}, false);
  run.tokenizer = tokenizer_in(weights.folder, weights.tokenizer);
  run.config.precision.compute = "fp32";  // whatever it was trained in, and on which device
  const int visible = visible_devices();
  const torch::Device device = visible > 0 ? use_device(device_of(local_rank, visible), /*tf32=*/false) : torch::kCPU;
  run.model = std::make_unique<StageChain>(run.config.model);
  run.weights = std::make_unique<FlatModel>(*run.model, false, torch::kFloat32, device);
  load_weights(path, *run.model, *run.weights);
  return run;
}

}  // namespace reprise
