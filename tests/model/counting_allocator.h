#pragma once

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace reprise {

// Live bytes of CPU tensors, for tests of what a stage keeps. The size stands in front of each block.
class CountingAllocator final : public c10::Allocator {
 public:
  static int64_t live_bytes() { return live().load(); }
  static int64_t peak_bytes() { return peak().load(); }  // since the last reset, of one thread
  static void reset_peak() { peak() = live().load(); }
  static void install() {
    static CountingAllocator allocator;
    c10::SetCPUAllocator(&allocator, /*priority=*/1);
  }

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    char* block = static_cast<char*>(c10::alloc_cpu(bytes + kHeader));
    std::memcpy(block, &bytes, sizeof bytes);
    live() += static_cast<int64_t>(bytes);
    peak() = std::max(peak().load(), live().load());
    return {block + kHeader, block + kHeader, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static constexpr size_t kHeader = 64;

  static std::atomic<int64_t>& live() {
    static std::atomic<int64_t> bytes{0};
    return bytes;
  }
  static std::atomic<int64_t>& peak() {
    static std::atomic<int64_t> bytes{0};
    return bytes;
  }
  static void release(void* data) {
    if (!data) return;
    char* block = static_cast<char*>(data) - kHeader;
    size_t bytes = 0;
    std::memcpy(&bytes, block, sizeof bytes);
    live() -= static_cast<int64_t>(bytes);
    c10::free_cpu(block);
  }
};

}  // namespace reprise
