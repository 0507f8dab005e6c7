#pragma once

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <utility>

namespace reprise {

// A device that is made up, of a type that nobody uses: its events keep a time that the test sets, and its allocator
// says what the test wants. Include it in one file of a program only.
struct FakeDevice {
  static constexpr auto kType = c10::DeviceType::PrivateUse1;
  inline static const c10::Device device{kType, 0};
  inline static double milliseconds = 0;  // what an event recorded now will say
  inline static int waits = 0;            // of the host for an event
  inline static int living_events = 0;
};

struct FakeGuard final : c10::impl::NoOpDeviceGuardImpl<FakeDevice::kType> {
  c10::Device getDevice() const override { return FakeDevice::device; }
  c10::Device exchangeDevice(c10::Device) const override { return FakeDevice::device; }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag flag) const override {
    TORCH_CHECK(flag == c10::EventFlag::BACKEND_DEFAULT, "the other flag keeps no time");
    if (!*event) ++FakeDevice::living_events;
    delete static_cast<double*>(std::exchange(*event, new double(FakeDevice::milliseconds)));
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { ++FakeDevice::waits; }
  double elapsedTime(void* from, void* to, const c10::DeviceIndex) const override {
    return *static_cast<double*>(to) - *static_cast<double*>(from);
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    if (event) --FakeDevice::living_events;
    delete static_cast<double*>(event);
  }
};

struct FakeDeviceAllocator final : c10::DeviceAllocator {
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return stats; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override { allocated().peak = allocated().current; }
  c10::DataPtr allocate(size_t) override { return {}; }
  void copy_data(void*, const void*, size_t) const override {}

  static constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  c10::CachingAllocator::Stat& allocated() { return stats.allocated_bytes[kAll]; }
  c10::CachingAllocator::Stat& reserved() { return stats.reserved_bytes[kAll]; }
  c10::CachingDeviceAllocator::DeviceStats stats;
};

}  // namespace reprise
