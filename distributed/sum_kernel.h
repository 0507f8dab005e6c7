#pragma once

#include <cstddef>

namespace reprise {

enum class SumType { fp32, fp64, bf16, int64 };

// target[i] += source[i] for `count` elements that do not overlap. bf16 adds in fp32 and rounds to nearest even, int64
// wraps. Free of LibTorch on purpose: the communication thread runs it and must not raise a thread team of its own.
void add_into(SumType type, void* target, const void* source, size_t count);

}  // namespace reprise
