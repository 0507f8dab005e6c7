#include "training/replica_check.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>

namespace reprise {

std::vector<double> replica_hash(const std::vector<FlatState>& states) {
  XXH64_hash_t hash = 0;
  for (const FlatState& state : states) {
    torch::Tensor words = state.flat.view(torch::kInt64);
    if (!words.is_cpu()) words = words.view({8, -1}).sum(1).cpu();
    hash = XXH3_64bits_withSeed(words.const_data_ptr(), words.nbytes(), hash);
  }
  return {static_cast<double>(hash >> 32), static_cast<double>(hash & 0xffffffff)};
}

std::string divergence(const Communicator& communicator, int64_t step, const torch::Tensor& hashes) {
  std::vector<uint64_t> by_rank;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const auto half = [&](int column) { return static_cast<uint64_t>(hashes[rank][column].item<double>()); };
    by_rank.push_back(half(0) << 32 | half(1));
  }
  std::vector<uint64_t> sorted = by_rank;
  std::ranges::sort(sorted);
  if (sorted.front() == sorted.back()) return {};
  const uint64_t usual = sorted[sorted.size() / 2];  // the only value that more than half of the ranks can have
  const bool is_majority = 2 * std::ranges::count(by_rank, usual) > std::ssize(by_rank);
  std::vector<std::string> odd;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const uint64_t hash = by_rank[static_cast<size_t>(rank)];
    if (is_majority && hash == usual) continue;
    odd.push_back(fmt::format("{} ({:016x})", communicator.describe(rank), hash));
  }
  const std::string verdict =
      is_majority ? fmt::format("{} differs from the other ranks ({:016x})", fmt::join(odd, ", "), usual)
                  : fmt::format("no majority tells which is right of {}", fmt::join(odd, ", "));
  return fmt::format(
      "step {}: the ranks no longer hold the same weights and moments: {}. What is saved was equal: go on from the "
      "newest snapshot; a rank that is named again has a broken host or device",
      step, verdict);
}

}  // namespace reprise
