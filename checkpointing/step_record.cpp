#include "checkpointing/step_record.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>

#include "checkpointing/memory_meter.h"

namespace reprise {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Moment::Moment(torch::Device device) : host_seconds_(now_seconds()) {
  if (device.is_cpu()) return;
  reached_.emplace(device.type(), c10::EventFlag::BACKEND_DEFAULT);  // the flag that keeps the time
  reached_->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

double Moment::seconds(const Moment& origin) const {
  if (!reached_) return host_seconds_;
  reached_->synchronize();
  return origin.host_seconds_ + origin.reached_->elapsedTime(*reached_) / 1e3;
}

void StepRecord::begin_step(int64_t step, torch::Device device) {
  device_ = device;
  step_ = step;
  moments_.clear();
  moments_.emplace_back(device);
  events_.clear();
  timed_ = 0;
  move_to(0, 0);
}

void StepRecord::begin(EventKind kind, int stage, int micro_batch) {
  move_to(static_cast<uint64_t>(kind) + 1, stage);
  events_.push_back({kind, static_cast<int16_t>(stage), static_cast<int16_t>(micro_batch), 0, 0, 0});
  moments_.emplace_back(device_);
}

void StepRecord::end() {
  moments_.emplace_back(device_);
  events_.back().live_bytes = MemoryMeter::current_bytes();
  move_to(0, 0);
}

void StepRecord::move_to(uint64_t phase, int stage) const {
  if (told_) told_(static_cast<uint64_t>(step_) << 24 | phase << 16 | static_cast<uint16_t>(stage));
}

const std::vector<StageEvent>& StepRecord::events() const {
  for (; timed_ < events_.size(); ++timed_) {
    events_[timed_].start_seconds = moments_[2 * timed_ + 1].seconds(moments_[0]);
    events_[timed_].end_seconds = moments_[2 * timed_ + 2].seconds(moments_[0]);
  }
  return events_;
}

double StepRecord::seconds(EventKind kind) const {
  double sum = 0;
  for (const StageEvent& event : events()) sum += event.kind == kind ? event.end_seconds - event.start_seconds : 0;
  return sum;
}

}  // namespace reprise
