#include <stdexcept>

#include "tests/spin.h"

namespace reprise {

void spin(int64_t, void*) { throw std::runtime_error("spin: this build has no CUDA; use the preset cuda"); }

}  // namespace reprise
