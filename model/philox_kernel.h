#pragma once

#include <cstdint>

#include "model/philox.h"

namespace reprise {

// out[i] = residual[i] + (element first + i is kept ? value[i] · scale : 0), for i < count, all within the sequence of
// `address`. `residual` may be null (zero); `out` may be `value` or `residual`. Bits do not depend on how a sequence is
// cut into calls, nor on the processor. Real is float or double.
template <class Real>
void dropout_kernel(const DropoutAddress& address, uint32_t threshold, Real scale, int64_t first, int64_t count,
                    const Real* value, const Real* residual, Real* out);

}  // namespace reprise
