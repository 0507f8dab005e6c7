#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "tests/scratch.h"
#include "training/dataset.h"

namespace reprise {

inline std::string shard_bytes(std::vector<int32_t> head, const std::vector<uint16_t>& tokens) {
  head.resize(256);
  std::string bytes(reinterpret_cast<const char*>(head.data()), 1024);
  return bytes.append(reinterpret_cast<const char*>(tokens.data()), 2 * tokens.size());
}

inline void put_shard(const std::string& path, const std::vector<uint16_t>& tokens) {
  put(path, shard_bytes({20240520, 1, static_cast<int32_t>(tokens.size())}, tokens));
}

inline std::vector<int64_t> tokens_of(const std::string& path) {
  const ShardFile shard(path);
  std::vector<int64_t> tokens(static_cast<size_t>(shard.size()));
  shard.read(0, shard.size(), kMostVocabulary, tokens.data());
  return tokens;
}

// first, first + 1, …
template <class Token = uint16_t>
std::vector<Token> counting(int first, int count) {
  std::vector<Token> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), static_cast<Token>(first));
  return tokens;
}

}  // namespace reprise
