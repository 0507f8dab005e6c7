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
    entries.push_back({parameter.numel(), parameter.lowest_stage()});
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

FlatModel::FlatModel(StageChain& model, bool with_gradients, torch::Dtype dtype)
    : layout(layout_of(model)),
      parameters(torch::zeros({layout.numel}, dtype)),
      gradients(with_gradients ? torch::zeros({layout.numel}, dtype) : torch::Tensor()),
      ranges(ranges_of(layout, model.parameters())) {
  ParameterTable& table = model.parameters();
  std::vector<torch::Tensor> values, gradient_views;
  for (int i = 0; i < table.size(); ++i) {
    values.push_back(layout.view(parameters, i).view(table[i].shape).set_requires_grad(with_gradients));
    gradient_views.push_back(with_gradients ? layout.view(gradients, i).view(table[i].shape) : torch::Tensor());
  }
  table.bind(values, gradient_views);
}

std::string weights_hash(const StageChain& model) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (int i = 0; i < model.parameters().size(); ++i) {
    const torch::Tensor& value = model.parameters()[i].value;
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
  for (const Bucket& bucket : buckets) text += fmt::format("{} {} {}\n", bucket.begin, bucket.end, bucket.lowest_stage);
  return fmt::format("{} buckets, {:016x}", buckets.size(), XXH3_64bits(text.data(), text.size()));
}

}  // namespace reprise
