#include <algorithm>

#include "model/philox.h"

namespace reprise {
namespace {

constexpr int kBlocks = 64;
constexpr int64_t kWords = 4 * kBlocks;

// A loop of its own and a local copy of the address, so that the compiler turns blocks into vector lanes.
void draw_words(const DropoutAddress& address, uint32_t first_block, uint32_t* words) {
  const DropoutAddress at = address;
  for (uint32_t i = 0; i < kBlocks; ++i) {
    const PhiloxBlock block = dropout_words(at, first_block + i);
    for (uint32_t lane = 0; lane < 4; ++lane) words[4 * i + lane] = block[lane];
  }
}

}  // namespace

void dropout_kernel(const DropoutAddress& address, uint32_t threshold, int64_t first, int64_t count, bool* falls) {
  uint32_t words[kWords];
  for (int64_t done = 0, n = 0; done < count; done += n) {
    const int64_t element = first + done, skipped = element % 4;
    draw_words(address, static_cast<uint32_t>(element / 4), words);
    n = std::min(kWords - skipped, count - done);
    for (int64_t i = 0; i < n; ++i) falls[done + i] = words[skipped + i] < threshold;
  }
}

}  // namespace reprise
