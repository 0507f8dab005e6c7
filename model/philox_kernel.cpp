#include <c10/util/BFloat16.h>

#include <algorithm>
#include <type_traits>

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
void dropout_kernel(const DropoutAddress& address, uint32_t threshold, double scale, int64_t first, int64_t count,
                    const Real* value, const Real* residual, Real* out) {
  using Wide = std::conditional_t<sizeof(Real) == sizeof(double), double, float>;
  const auto wide_scale = static_cast<Wide>(scale);
  uint32_t words[kWords];
  for (int64_t done = 0; done < count;) {
    const int64_t element = first + done;
    draw_words(address, static_cast<uint32_t>(element / 4), words);
    const int64_t skipped = element % 4;
    const int64_t n = std::min(kWords - skipped, count - done);
    Wide kept[kWords];
    for (int64_t i = 0; i < n; ++i) {
      const Wide scaled = static_cast<Wide>(value[done + i]) * wide_scale;
      kept[i] = words[skipped + i] < threshold ? Wide{0} : scaled;
    }
    for (int64_t i = 0; i < n; ++i) {
      out[done + i] = static_cast<Real>(residual ? static_cast<Wide>(residual[done + i]) + kept[i] : kept[i]);
    }
    done += n;
  }
}

template void dropout_kernel<float>(const DropoutAddress&, uint32_t, double, int64_t, int64_t, const float*,
                                    const float*, float*);
template void dropout_kernel<double>(const DropoutAddress&, uint32_t, double, int64_t, int64_t, const double*,
                                     const double*, double*);
template void dropout_kernel<c10::BFloat16>(const DropoutAddress&, uint32_t, double, int64_t, int64_t,
                                            const c10::BFloat16*, const c10::BFloat16*, c10::BFloat16*);

}  // namespace reprise
