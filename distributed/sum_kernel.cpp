#include "distributed/sum_kernel.h"

#include <bit>
#include <cstdint>

namespace reprise {
namespace {

template <typename T>
void add(void* target, const void* source, size_t count) {
  T* __restrict to = static_cast<T*>(target);
  const T* __restrict from = static_cast<const T*>(source);
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

float widen(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

uint16_t round_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return value != value ? 0x7fc0 : static_cast<uint16_t>(rounded);
}

void add_bf16(void* target, const void* source, size_t count) {
  uint16_t* __restrict to = static_cast<uint16_t*>(target);
  const uint16_t* __restrict from = static_cast<const uint16_t*>(source);
  for (size_t i = 0; i < count; ++i) to[i] = round_to_bf16(widen(to[i]) + widen(from[i]));
}

}  // namespace

void add_into(SumType type, void* target, const void* source, size_t count) {
  switch (type) {
    case SumType::fp32:
      return add<float>(target, source, count);
    case SumType::fp64:
      return add<double>(target, source, count);
    case SumType::bf16:
      return add_bf16(target, source, count);
    case SumType::int64:
      return add<uint64_t>(target, source, count);  // unsigned: overflow wraps
  }
}

}  // namespace reprise
