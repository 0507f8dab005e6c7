#include "distributed/sum_kernel.h"

#include <cstdint>
#include <stdexcept>
#include <string>

namespace reprise {
namespace {

template <typename T>
void add(void* target, const void* source, size_t count) {
  T* __restrict to = static_cast<T*>(target);
  const T* __restrict from = static_cast<const T*>(source);
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

SumKernel sum_kernel_of(c10::ScalarType type) {
  switch (type) {
    case c10::kFloat:
      return add<float>;
    case c10::kDouble:
      return add<double>;
    case c10::kBFloat16:
      return add<c10::BFloat16>;
    case c10::kLong:
      return add<uint64_t>;  // unsigned: overflow wraps
    default:
      throw std::invalid_argument(std::string("all-reduce does not sum tensors of type ") + c10::toString(type));
  }
}

}  // namespace reprise
