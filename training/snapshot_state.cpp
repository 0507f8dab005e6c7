// The tensors of a snapshot: flat tensors cut by bytes among the ranks, and put together again by name.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "training/errors.h"
#include "training/snapshot_format.h"

namespace reprise {
namespace {

struct Place {
  int64_t offset = 0, numel = 0;  // in the flat tensors
  std::vector<int64_t> shape;
};

// "NAME" or "NAME[begin:end]".
struct PieceName {
  std::string parameter;
  int64_t begin = 0, end = -1;  // -1: all of it

  explicit PieceName(const std::string& text) : parameter(text.substr(0, text.find('['))) {
    if (parameter.size() == text.size()) return;
    const char* last = text.data() + text.size();
    const auto [colon, first_error] = std::from_chars(text.data() + parameter.size() + 1, last, begin);
    const auto bracket = colon == last ? colon : std::from_chars(colon + 1, last, end).ptr;
    if (first_error != std::errc() || bracket == last || *bracket != ']' || begin < 0 || end <= begin) end = 0;
  }
};

class Filler {
 public:
  Filler(const StageChain& model, const FlatLayout& layout, const FlatState& state) : state_(state) {
    host_ = torch::zeros({layout.numel}, torch::kFloat32);
    for (int i = 0; i < model.parameters().size(); ++i) {
      const Parameter& parameter = model.parameters()[i];
      places_[parameter.name] = {layout.offset[static_cast<size_t>(i)], parameter.numel(), parameter.shape};
      missing_ += parameter.numel();
    }
  }

  void add(const std::string& file, const std::string& name, const torch::Tensor& tensor) {
    const PieceName piece(name);
    const auto found = places_.find(piece.parameter);
    const auto refuse = [&](const std::string& why) { throw DataError(fmt::format("{}: {}: {}", file, name, why)); };
    if (found == places_.end()) refuse("no parameter of this model");
    const Place& place = found->second;
    const bool is_whole = piece.end < 0;
    const int64_t end = is_whole ? place.numel : piece.end;
    const std::vector<int64_t> shape = is_whole ? place.shape : std::vector<int64_t>{end - piece.begin};
    if (end <= piece.begin || end > place.numel || tensor.scalar_type() != torch::kFloat32 || tensor.sizes() != shape) {
      refuse("another shape or type than this model's");
    }
    for (auto& [from, to] : given_[piece.parameter]) {
      if (piece.begin < to && from < end) refuse("given twice");
    }
    given_[piece.parameter].push_back({piece.begin, end});
    host_.narrow(0, place.offset + piece.begin, end - piece.begin).copy_(tensor.flatten());
    missing_ -= end - piece.begin;
  }

  void finish(const std::string& folder) const {
    if (missing_ > 0) throw DataError(fmt::format("{}: {} elements of {} are missing", folder, missing_, state_.name));
    torch::Tensor flat = state_.flat;
    flat.copy_(host_);
  }

 private:
  const FlatState& state_;
  torch::Tensor host_;  // (numel)
  std::map<std::string, Place> places_;
  std::map<std::string, std::vector<std::pair<int64_t, int64_t>>> given_;
  int64_t missing_ = 0;
};

}  // namespace

std::vector<NamedTensor> name_pieces(const StageChain& model, const FlatLayout& layout, int64_t begin, int64_t end,
                                     const std::vector<FlatState>& parts) {
  std::vector<NamedTensor> pieces;
  for (const FlatState& part : parts) {
    for (const int entry : layout.order) {
      const Parameter& parameter = model.parameters()[entry];
      const int64_t offset = layout.offset[static_cast<size_t>(entry)];
      const int64_t from = std::max(begin, offset), to = std::min(end, offset + parameter.numel());
      if (from >= to) continue;
      const torch::Tensor flat = part.flat.narrow(0, from - begin, to - from);
      const bool is_whole = to - from == parameter.numel();
      const std::string name = part.name + "/" + parameter.name;
      pieces.push_back(is_whole ? NamedTensor{name, flat.view(parameter.shape)}
                                : NamedTensor{fmt::format("{}[{}:{}]", name, from - offset, to - offset), flat});
    }
  }
  return pieces;
}

void read_state(const std::string& folder, const Manifest& manifest, const StageChain& model, const FlatLayout& layout,
                const std::vector<FlatState>& states) {
  const torch::NoGradGuard no_grad;
  for (const FlatState& state : states) {
    Filler filler(model, layout, state);
    for (const FileFacts& facts : manifest.files) {
      if (!facts.name.ends_with(".safetensors")) continue;
      const std::string path = folder + "/" + facts.name;
      for (const auto& [name, tensor] : read_safetensors(path).tensors) {
        if (name.starts_with(state.name + "/")) filler.add(path, name.substr(state.name.size() + 1), tensor);
      }
    }
    filler.finish(folder);
  }
}

}  // namespace reprise
