#pragma once

#include <cstdint>

namespace reprise {

// Keeps the current CUDA device busy for a number of its clock ticks (about 1.5e9 a second) with a kernel of one
// thread, enqueued on `stream` (a cudaStream_t; null: the default one); returns at once. For tests that the host never
// waits. Throws std::runtime_error where the kernel cannot start, and in a build without CUDA.
void spin(int64_t ticks, void* stream = nullptr);

}  // namespace reprise
