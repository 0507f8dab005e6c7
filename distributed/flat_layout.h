#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace reprise {

// Points are moments of a backward, counted down to 0, at which gradients become final.
struct FlatEntry {
  int64_t numel = 0;
  int lowest_point = 0;  // when the entry's gradient is final
};

// Places of all entries in one flat tensor: highest point first, table order within a point, each entry starting on a
// multiple of 16 elements (64 bytes in fp32). Depends on the entries only.
struct FlatLayout {
  static constexpr int64_t kAlignment = 16;
  explicit FlatLayout(std::vector<FlatEntry> table);

  std::vector<FlatEntry> entries;  // as given
  std::vector<int64_t> offset;     // element offset of entry i
  std::vector<int> order;          // entries by ascending offset
  int64_t numel = 0;               // padding included, a multiple of 16

  // (numel), sharing storage and version counter, detached.
  torch::Tensor view(const torch::Tensor& flat, int entry) const;
};

// A range of the flat gradients that travels as one. Elements, end exclusive.
struct Bucket {
  int64_t begin = 0, end = 0;
  int lowest_point = 0, highest_point = 0;  // of the entries it touches; final with the lowest
};

// Cuts the flat tensor front to back: the first bucket up to first_bytes, all others up to bucket_bytes, at multiples
// of 16 elements wherever that falls. Launch order is this order; lowest points never increase along it.
std::vector<Bucket> make_buckets(const FlatLayout& layout, int64_t first_bytes, int64_t bucket_bytes,
                                 int64_t element_bytes);

}  // namespace reprise
