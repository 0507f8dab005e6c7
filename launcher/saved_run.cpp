#include "launcher/saved_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <optional>

#include "launcher/device.h"
#include "launcher/start_point.h"
#include "training/errors.h"
#include "training/safetensors.h"
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

// What load_run() takes, found and verified once.
class Weights {
 public:
  explicit Weights(const std::string& given) : folder_(given) {
    const bool is_finished = fs::exists(given + "/final/model.safetensors");
    if (!is_finished && fs::is_directory(snapshot_folder(given))) {
      auto [path, manifest] = newest_snapshot(given);
      folder_ = path;
      snapshot_ = manifest;
    } else if (fs::exists(given + "/manifest.json")) {
      snapshot_ = verify_snapshot(Disk(), given);
    } else {
      path_ = first_existing(given, {"final/model.safetensors", "model.safetensors"});
      folder_ = fs::path(path_).parent_path().string();
      file_ = read_safetensors(path_);
    }
  }

  const std::string& folder() const { return folder_; }

  std::string tokenizer() const {  // as Tokenizer wants it
    if (snapshot_) return tokenizer_in(folder_, snapshot_->fact("tokenizer"));
    const auto found = file_.metadata.find("tokenizer");
    return tokenizer_in(folder_, found == file_.metadata.end() ? "bytes" : found->second);
  }

  void fill(StageChain& model, FlatModel& flat) const {
    if (snapshot_) return read_state(folder_, *snapshot_, model, flat.layout, {{"parameters", flat.parameters}});
    const ParameterTable& parameters = model.parameters();
    std::vector<ExpectedTensor> expected;
    for (int i = 0; i < parameters.size(); ++i) expected.push_back({parameters[i].name, parameters[i].shape});
    require_tensors(path_, file_.tensors, expected);
    const torch::NoGradGuard no_grad;
    for (int i = 0; i < parameters.size(); ++i) parameters[i].master.copy_(file_.tensors.at(parameters[i].name));
  }

 private:
  std::string folder_, path_;  // path: of the file
  std::optional<Manifest> snapshot_;
  SafetensorsFile file_;  // where there is no snapshot
};

}  // namespace

void load_weights(const std::string& path, StageChain& model, FlatModel& flat) { Weights(path).fill(model, flat); }

SavedRun load_run(const std::string& path, int local_rank) {
  const Weights weights(path);
  SavedRun run;
  run.config = load_config(first_existing(weights.folder(), {"config.yaml", "../config.yaml"}), {}, false);
  run.tokenizer = weights.tokenizer();
  run.config.precision.compute = "fp32";  // whatever it was trained in, and on which device
  const int visible = visible_devices();
  const torch::Device device = visible > 0 ? use_device(device_of(local_rank, visible), /*tf32=*/false) : torch::kCPU;
  run.model = std::make_unique<StageChain>(run.config.model);
  run.weights = std::make_unique<FlatModel>(*run.model, false, torch::kFloat32, device);
  weights.fill(*run.model, *run.weights);
  return run;
}

}  // namespace reprise
