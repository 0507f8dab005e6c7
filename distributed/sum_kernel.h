#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>

namespace reprise {

// target[i] += source[i] for `count` elements that do not overlap. bf16 adds in fp32 and rounds to nearest even, int64
// wraps. Makes no call into LibTorch on purpose: the communication thread runs it and must not raise a thread team of
// its own.
using SumKernel = void (*)(void* target, const void* source, size_t count);

// Throws std::invalid_argument on a type other than fp32, fp64, bf16 and int64.
SumKernel sum_kernel_of(c10::ScalarType type);

}  // namespace reprise
