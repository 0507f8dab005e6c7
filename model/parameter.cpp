#include "model/parameter.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#include "model/philox.h"

namespace reprise {
namespace {

// FNV-1a over the name, then mixed with the seed. A CPU generator looks at 32 bits of its seed only.
uint32_t generator_seed(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return static_cast<uint32_t>(mix64(mix64(seed) ^ hash) >> 32);
}

}  // namespace

Parameter* ParameterTable::add(Parameter parameter) {
  if (parameter.live_rows < 0) parameter.live_rows = parameter.shape[0];
  entries_.push_back(std::make_unique<Parameter>(std::move(parameter)));
  return entries_.back().get();
}

int64_t ParameterTable::count() const {
  int64_t total = 0;
  for (const auto& entry : entries_) total += entry->numel() / entry->shape[0] * entry->live_rows;
  return total;
}

void ParameterTable::bind(const std::vector<torch::Tensor>& masters, const std::vector<torch::Tensor>& gradients,
                          const std::vector<torch::Tensor>& computed) {
  const bool has_all_copies = computed.empty() || computed.size() == entries_.size();
  if (masters.size() != entries_.size() || gradients.size() != entries_.size() || !has_all_copies) {
    throw std::invalid_argument("bind: one value and one gradient for each of " + std::to_string(size()) +
                                " parameters are needed");
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    Parameter& parameter = *entries_[i];
    parameter.master = masters[i].view(parameter.shape).detach();
    const bool has_copy = !computed.empty() && !parameter.is_wide;
    parameter.value = has_copy ? computed[i].view(parameter.shape).detach() : parameter.master.detach();
    if (!gradients[i].defined()) continue;
    parameter.value.set_requires_grad(true);
    parameter.value.mutable_grad() = gradients[i].view(parameter.shape).detach();
  }
}

void ParameterTable::initialize(uint64_t seed) const {
  const torch::NoGradGuard no_graph;
  for (const auto& entry : entries_) {
    const torch::Tensor live = entry->master.zero_().narrow(0, 0, entry->live_rows);
    if (entry->deviation > 0) {
      // Drawn on the CPU whatever the parameter's device, so that every device starts from the same values.
      at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(generator_seed(seed, entry->name));
      const torch::Tensor drawn = at::empty(live.sizes(), live.options().device(torch::kCPU));
      live.copy_(drawn.normal_(entry->initial, entry->deviation, generator));
    } else {
      live.fill_(entry->initial);
    }
  }
}

}  // namespace reprise
