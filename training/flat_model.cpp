#include "training/flat_model.h"

#define XXH_INLINE_ALL
#include <fmt/ranges.h>
#include <xxhash.h>

#include <memory>

namespace reprise {

FlatLayout layout_of(const StageChain& model) {
  std::vector<FlatEntry> entries;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    entries.push_back({parameter.numel(), parameter.final_point()});
  }
  return FlatLayout(std::move(entries));
}

namespace {

// Padding between parameters belongs to the one before it: zeros stay zeros under either kind of update.
std::vector<FlatRange> ranges_of(const FlatLayout& layout, const ParameterTable& table) {
  std::vector<FlatRange> ranges;
  for (int entry : layout.order) {
    const bool decays = table[entry].decays;
    const int64_t begin = layout.offset[static_cast<size_t>(entry)];
    if (ranges.empty() || ranges.back().decays != decays) {
      if (!ranges.empty()) ranges.back().end = begin;
      ranges.push_back({begin, layout.numel, decays});
    }
  }
  return ranges;
}

}  // namespace

FlatModel::FlatModel(StageChain& model, bool with_gradients, torch::Dtype compute, torch::Device device)
    : layout(layout_of(model)),
      parameters(torch::zeros({layout.numel}, torch::TensorOptions(device).dtype(torch::kFloat32))),
      computed(compute == torch::kFloat32 ? torch::Tensor() : at::zeros_like(parameters, compute)),
      gradients(with_gradients ? at::zeros_like(parameters) : torch::Tensor()),
      ranges(ranges_of(layout, model.parameters())) {
  ParameterTable& table = model.parameters();
  std::vector<torch::Tensor> masters, gradient_views, copies;
  for (int i = 0; i < table.size(); ++i) {
    masters.push_back(layout.view(parameters, i));
    gradient_views.push_back(with_gradients ? layout.view(gradients, i) : torch::Tensor());
    if (computed.defined()) copies.push_back(layout.view(computed, i));
  }
  table.bind(masters, gradient_views, copies);
}

void FlatModel::initialize(StageChain& model, uint64_t seed) {
  model.parameters().initialize(seed);
  if (computed.defined()) computed.copy_(parameters);
}

std::string weights_hash(const StageChain& model) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (int i = 0; i < model.parameters().size(); ++i) {
    const torch::Tensor value = model.parameters()[i].master.cpu();
    XXH3_64bits_update(state.get(), value.const_data_ptr(), value.nbytes());
  }
  return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
}

std::string describe_parameters(const StageChain& model) {
  std::string text;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    text +=
        fmt::format("{} {} {}\n", parameter.name, fmt::join(parameter.shape, "x"), fmt::join(parameter.stages, ","));
  }
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string describe_buckets(const std::vector<Bucket>& buckets) {
  std::string text;
  for (const Bucket& bucket : buckets) text += fmt::format("{} {} {}\n", bucket.begin, bucket.end, bucket.lowest_point);
  return fmt::format("{} buckets, {:016x}", buckets.size(), XXH3_64bits(text.data(), text.size()));
}

}  // namespace reprise
