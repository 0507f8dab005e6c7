#include "distributed/flat_layout.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace reprise {
namespace {

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

int64_t cap_elements(int64_t bytes, int64_t element_bytes) {
  if (bytes <= 0 || element_bytes <= 0) throw std::invalid_argument("bucket caps and element sizes are positive");
  return std::max(FlatLayout::kAlignment, bytes / element_bytes / FlatLayout::kAlignment * FlatLayout::kAlignment);
}

}  // namespace

FlatLayout::FlatLayout(std::vector<FlatEntry> table)
    : entries(std::move(table)), offset(entries.size()), order(entries.size()) {
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](int entry) { return entries[entry].lowest_point; });
  for (const int entry : order) {
    if (entries[entry].numel < 0) throw std::invalid_argument("entry " + std::to_string(entry) + " of negative size");
    offset[entry] = numel;
    numel = round_up(numel + entries[entry].numel, kAlignment);
  }
}

torch::Tensor FlatLayout::view(const torch::Tensor& flat, int entry) const {
  if (flat.dim() != 1 || flat.numel() != numel) throw std::invalid_argument("the flat tensor does not fit its layout");
  return flat.narrow(0, offset.at(entry), entries[entry].numel).detach();
}

std::vector<Bucket> make_buckets(const FlatLayout& layout, int64_t first_bytes, int64_t bucket_bytes,
                                 int64_t element_bytes) {
  const int64_t first_cap = cap_elements(first_bytes, element_bytes);
  const int64_t cap = cap_elements(bucket_bytes, element_bytes);
  std::vector<Bucket> buckets;
  auto entry = layout.order.begin();  // the first one that ends after the bucket begins
  const auto end_of = [&](int index) { return layout.offset[index] + layout.entries[index].numel; };
  for (int64_t begin = 0; begin < layout.numel; begin = buckets.back().end) {
    const int64_t end = std::min(layout.numel, begin + (buckets.empty() ? first_cap : cap));
    while (end_of(*entry) <= begin) ++entry;
    auto last = entry;
    for (auto next = entry; next != layout.order.end() && layout.offset[*next] < end; ++next) {
      if (layout.entries[*next].numel > 0) last = next;
    }
    buckets.push_back({begin, end, layout.entries[*last].lowest_point, layout.entries[*entry].lowest_point});
  }
  return buckets;
}

}  // namespace reprise
