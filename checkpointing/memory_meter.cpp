#include "checkpointing/memory_meter.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <atomic>
#include <cstring>

namespace reprise {
namespace {

// The one mutable state at namespace scope in this project: LibTorch has one CPU allocator per process, and tensors are
// freed by a plain function pointer, which can reach nothing else.
std::atomic<uint64_t> live_bytes{0};
std::atomic<uint64_t> highest_bytes{0};

// In front of each block, holds its size; as long as LibTorch's alignment, so as to keep it.
constexpr size_t kHeader = 64;
static_assert(kHeader >= c10::gAlignment && kHeader % c10::gAlignment == 0);

void count_allocation(uint64_t bytes) {
  const uint64_t live = live_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  uint64_t highest = highest_bytes.load(std::memory_order_relaxed);
  while (live > highest && !highest_bytes.compare_exchange_weak(highest, live, std::memory_order_relaxed)) {
  }
}

void release(void* data) {
  if (data == nullptr) return;
  char* block = static_cast<char*>(data) - kHeader;
  size_t bytes = 0;
  std::memcpy(&bytes, block, sizeof bytes);
  live_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  c10::free_cpu(block);
}

// Data and context are one pointer: oneDNN paths take a tensor's memory through raw_allocate, which insists on that.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    char* block = static_cast<char*>(c10::alloc_cpu(bytes + kHeader));
    std::memcpy(block, &bytes, sizeof bytes);
    count_allocation(bytes);
    return {block + kHeader, block + kHeader, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

CountingAllocator counting_allocator;  // stateless

}  // namespace

void MemoryMeter::install() {
  // A step takes and gives back the same bytes as the last one. By default glibc maps large blocks anew each time, and
  // the page faults take up to a tenth of a step.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  c10::SetCPUAllocator(&counting_allocator, /*priority=*/1);
}

bool MemoryMeter::is_installed() { return c10::GetCPUAllocator() == &counting_allocator; }

uint64_t MemoryMeter::current_bytes() { return live_bytes.load(std::memory_order_relaxed); }

uint64_t MemoryMeter::peak_bytes() { return highest_bytes.load(std::memory_order_relaxed); }

void MemoryMeter::reset_peak() { highest_bytes.store(current_bytes(), std::memory_order_relaxed); }

}  // namespace reprise
