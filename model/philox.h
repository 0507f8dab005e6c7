#pragma once

#include <array>
#include <cstdint>

namespace reprise {

// The random words of the project are a function, not a stream: Philox4x32-10 (Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011) turns a 128-bit counter and a 64-bit key into four words. Everything but the last
// function is constexpr, free of LibTorch and exact in integers, so that a kernel for another device can include it and
// draw the same bits.
using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox4x32_10(PhiloxBlock counter, uint64_t key) {
  uint32_t key_low = static_cast<uint32_t>(key), key_high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round, key_low += 0x9E3779B9, key_high += 0xBB67AE85) {
    const uint64_t even = uint64_t{0xD2511F53} * counter[0], odd = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(odd >> 32) ^ counter[1] ^ key_low, static_cast<uint32_t>(odd),
               static_cast<uint32_t>(even >> 32) ^ counter[3] ^ key_high, static_cast<uint32_t>(even)};
  }
  return counter;
}

// A bijection that spreads every input bit over all output bits (the finaliser of splitmix64).
constexpr uint64_t mix64(uint64_t bits) {
  bits += 0x9E3779B97F4A7C15;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB;
  return bits ^ (bits >> 31);
}

// Where a dropout mask lies in that function: one sequence of one site of one stage in one step. Element e of the
// sequence, e = t·C + c, owns word e mod 4 of philox4x32_10({e div 4, stream, sequence low, sequence high}, key).
struct DropoutAddress {
  uint64_t key = 0;       // mix64(mix64(seed) + step): no two steps of a seed share it
  uint64_t sequence = 0;  // global index
  uint32_t stream = 0;    // 4·stage + site
};

constexpr DropoutAddress dropout_address(uint64_t seed, int64_t step, int64_t sequence, int stage, uint32_t site) {
  return {mix64(mix64(seed) + static_cast<uint64_t>(step)), static_cast<uint64_t>(sequence),
          4 * static_cast<uint32_t>(stage) + site};
}

constexpr PhiloxBlock dropout_words(const DropoutAddress& at, uint32_t block) {
  return philox4x32_10({block, at.stream, static_cast<uint32_t>(at.sequence), static_cast<uint32_t>(at.sequence >> 32)},
                       at.key);
}

// An element is dropped when its word is below this: rate · 2^32, rounded.
constexpr uint32_t dropout_threshold(double rate) {
  const double scaled = rate * 4294967296.0 + 0.5;
  return scaled >= 4294967295.0 ? 4294967295u : static_cast<uint32_t>(scaled);
}

// On the CPU: values[i] = element first + i of the sequence falls ? 0 : values[i] · scale, for i < count. Bits do not
// depend on how a sequence is cut into calls, nor on the processor. Real is float or double.
template <class Real>
void dropout_kernel(const DropoutAddress& address, uint32_t threshold, Real scale, int64_t first, int64_t count,
                    Real* values);

}  // namespace reprise
