#pragma once

// A device type that nobody uses, whose streams do nothing and whose events are reached when the test says so. It
// writes down what streams are told. Include it in one file of a test.

#include <ATen/NativeFunctions.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

namespace reprise {

constexpr auto kFakeType = c10::DeviceType::PrivateUse1;
inline const torch::Device kFake(kFakeType, 0);
constexpr int kFakeWire = 7;  // the stream that the pool gives; the current one is 0

// What happened on the device and in its library, in order; and whether the device still gets anywhere.
struct FakeDevice {
  std::atomic<bool> hangs{false}, fails{false};
  std::atomic<int> reached{0};  // the last event that it reached before it hung
  std::atomic<int> events{0}, alive_events{0}, host_waits{0};

  void note(const std::string& what) {
    const std::lock_guard lock(mutex);
    log.push_back(what);
  }
  std::vector<std::string> take_log() {
    const std::lock_guard lock(mutex);
    return std::exchange(log, {});
  }
  bool saw(const std::string& what) {
    const std::lock_guard lock(mutex);
    return std::find(log.begin(), log.end(), what) != log.end();
  }

 private:
  std::mutex mutex;
  std::vector<std::string> log;
};
inline FakeDevice fake_device;

struct FakeGuard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kFakeType; }
  c10::Device exchangeDevice(c10::Device) const override { return kFake; }
  c10::Device getDevice() const override { return kFake; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool has_high_priority) const override {
    return c10::Stream(c10::Stream::UNSAFE, device, has_high_priority ? kFakeWire : kFakeWire + 1);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return reinterpret_cast<void*>(stream.id()); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex, const c10::EventFlag) const override {
    ++fake_device.alive_events;
    const int number = ++fake_device.events;
    *event = reinterpret_cast<void*>(static_cast<intptr_t>(number));
    fake_device.note("stream " + std::to_string(stream.id()) + " records " + std::to_string(number));
  }
  void block(void* event, const c10::Stream& stream) const override {
    fake_device.note("stream " + std::to_string(stream.id()) + " awaits " +
                     std::to_string(reinterpret_cast<intptr_t>(event)));
  }
  bool queryEvent(void* event) const override {
    TORCH_CHECK(!fake_device.fails, "an illegal memory access was encountered");
    return !fake_device.hangs || reinterpret_cast<intptr_t>(event) <= fake_device.reached;
  }
  void synchronizeEvent(void*) const override { ++fake_device.host_waits; }
  void synchronizeStream(const c10::Stream& stream) const override {
    fake_device.note("host awaits stream " + std::to_string(stream.id()));
  }
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override { return 500; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override { --fake_device.alive_events; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, FakeGuard);

// Its tensors lie in the memory of the host and can be cut and cleared.
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("zero_", [](at::Tensor& tensor) -> at::Tensor& {
    fake_device.note("zeroes");
    return tensor;
  });
}

inline torch::Tensor on_fake_device(const torch::Tensor& values) {
  return at::for_blob(values.data_ptr(), values.sizes())
      .strides(values.strides())
      .options(values.options().device(kFake))
      .target_device(kFake)
      .make_tensor();
}

}  // namespace reprise
