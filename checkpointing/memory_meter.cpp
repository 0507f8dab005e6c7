#include "checkpointing/memory_meter.h"

#include <ATen/Context.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <atomic>
#include <cstring>

namespace reprise {
namespace {

// The one mutable state at namespace scope in this project: LibTorch has one allocator per process and kind of device,
// and tensors are freed by a plain function pointer, which can reach nothing else.
std::atomic<uint64_t> live_bytes{0};
std::atomic<uint64_t> highest_bytes{0};
std::atomic<c10::Device> followed{c10::Device(c10::kCPU)};

c10::DeviceAllocator& device_allocator() { return *c10::getDeviceAllocator(followed.load().type()); }

struct Figures {
  uint64_t current, peak, reserved;
};

Figures read_figures() {
  const uint64_t live = live_bytes.load(std::memory_order_relaxed);
  if (followed.load().is_cpu()) return {live, highest_bytes.load(std::memory_order_relaxed), live};
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = device_allocator().getDeviceStats(followed.load().index());
  const auto& allocated = stats.allocated_bytes[kAll];
  return {static_cast<uint64_t>(allocated.current), static_cast<uint64_t>(allocated.peak),
          static_cast<uint64_t>(stats.reserved_bytes[kAll].current)};
}

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

void MemoryMeter::follow(torch::Device device) {
  followed = device;
  if (!device.is_cpu() && !device_allocator().initialized()) at::globalContext().lazyInitDevice(device.type());
}

uint64_t MemoryMeter::current_bytes() { return read_figures().current; }

uint64_t MemoryMeter::peak_bytes() { return read_figures().peak; }

void MemoryMeter::reset_peak() {
  highest_bytes.store(live_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (!followed.load().is_cpu()) device_allocator().resetPeakStats(followed.load().index());
}

uint64_t MemoryMeter::idle_bytes() {
  const Figures figures = read_figures();
  return figures.reserved - figures.current;
}

}  // namespace reprise
