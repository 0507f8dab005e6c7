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

template <class Real>
void dropout_kernel(const DropoutAddress& address, uint32_t threshold, Real scale, int64_t first, int64_t count,
                    Real* values) {
  uint32_t words[kWords];
  for (int64_t done = 0, n = 0; done < count; done += n) {
    const int64_t element = first + done, skipped = element % 4;
    draw_words(address, static_cast<uint32_t>(element / 4), words);
    n = std::min(kWords - skipped, count - done);
    for (int64_t i = 0; i < n; ++i) {
      const Real kept = values[done + i] * scale;
      values[done + i] = words[skipped + i] < threshold ? Real{0} : kept;
    }
  }
}

template void dropout_kernel(const DropoutAddress&, uint32_t, float, int64_t, int64_t, float*);
template void dropout_kernel(const DropoutAddress&, uint32_t, double, int64_t, int64_t, double*);

}  // namespace reprise
