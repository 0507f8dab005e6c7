#include "distributed/gradient_reducer.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <torch/csrc/profiler/stubs/base.h>
#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace reprise {
namespace {

// Time covered by at least one interval. The wire takes buckets in order, so starts and ends never decrease.
double covered_seconds(const std::vector<WireInterval>& intervals) {
  double seconds = 0, covered_until = -std::numeric_limits<double>::infinity();
  for (const WireInterval& interval : intervals) {
    seconds += std::max(0.0, interval.finished_seconds - std::max(interval.started_seconds, covered_until));
    covered_until = std::max(covered_until, interval.finished_seconds);
  }
  return seconds;
}

// The point that the current stream of a device has reached; none on the CPU.
std::optional<c10::Event> mark(torch::Device device) {
  if (device.is_cpu()) return {};
  std::optional<c10::Event> reached(std::in_place, device.type(), c10::EventFlag::BACKEND_DEFAULT);
  reached->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return reached;
}

}  // namespace

GradientReducer::GradientReducer(Communicator& communicator, torch::Tensor flat_gradients, std::vector<Bucket> buckets,
                                 int points, bool overlap, std::optional<torch::Dtype> travels_as)
    : communicator_(communicator),
      flat_(std::move(flat_gradients)),
      staged_(travels_as.value_or(flat_.scalar_type()) == flat_.scalar_type()
                  ? torch::Tensor()
                  : torch::empty_like(flat_, flat_.options().dtype(travels_as))),
      buckets_(std::move(buckets)),
      points_(points),
      overlap_(overlap) {
  int64_t reached = 0;
  int point = points - 1;
  for (const Bucket& bucket : buckets_) {
    const bool is_next = bucket.begin == reached && bucket.end > bucket.begin && bucket.lowest_point <= point;
    if (!is_next || bucket.lowest_point < 0) throw std::invalid_argument("buckets out of order");
    reached = bucket.end;
    point = bucket.lowest_point;
  }
  if (reached != flat_.numel()) throw std::invalid_argument("the buckets do not cover the flat gradients");
  communicator_.expect_sums_in(staged_.defined() ? staged_ : flat_);
}

void GradientReducer::begin_step() {
  if (in_step_) throw std::logic_error("begin_step before the last step is finished");
  in_step_ = true;
  expected_point_ = points_ - 1;
  pending_.clear();
  times_ = {};
  const torch::NoGradGuard no_grad;
  flat_.zero_();
}

void GradientReducer::point_final(int point) {
  const bool is_any_due = in_step_ && expected_point_ >= 0;
  if (!is_any_due || point != expected_point_) {
    throw std::logic_error(fmt::format("point {} is final, but the next one due is {}", point,
                                       is_any_due ? std::to_string(expected_point_) : "none"));
  }
  --expected_point_;
  if (overlap_) launch_until(point);
}

void GradientReducer::finish() {
  if (!in_step_) throw std::logic_error("finish without begin_step");
  if (expected_point_ >= 0) throw std::logic_error(fmt::format("finish before point {} is final", expected_point_));
  launch_until(0);
  reached_finish_ = mark(flat_.device());
  const double wait_begin = steady_seconds();
  for (size_t bucket = 0; bucket < pending_.size(); ++bucket) {
    try {
      pending_[bucket]->wait();
    } catch (const PeerLost& lost) {
      throw PeerLost(fmt::format("{}, gradient bucket {} of {}", lost.what(), bucket, buckets_.size()));
    }
    if (staged_.defined()) range(flat_, bucket).copy_(range(staged_, bucket));
  }
  times_.exposed_seconds = steady_seconds() - wait_begin;
  left_finish_ = mark(flat_.device());
  in_step_ = false;
}

const ReducerTimes& GradientReducer::times() const {
  if (in_step_ || !times_.buckets.empty()) return times_;
  for (const auto& pending : pending_) times_.buckets.push_back(pending->interval());
  times_.comm_seconds = covered_seconds(times_.buckets);
  if (left_finish_) {
    left_finish_->synchronize();
    times_.exposed_seconds = reached_finish_->elapsedTime(*left_finish_) / 1e3;
  }
  return times_;
}

void GradientReducer::launch_until(int point) {
  while (pending_.size() < buckets_.size() && buckets_[pending_.size()].lowest_point >= point) {
    const size_t bucket = pending_.size();
    const auto* nvtx = torch::profiler::impl::cudaStubs();
    if (nvtx->enabled()) nvtx->rangePush(("bucket " + std::to_string(bucket)).c_str());
    if (staged_.defined()) range(staged_, bucket).copy_(range(flat_, bucket));
    pending_.push_back(communicator_.start_sum(range(staged_.defined() ? staged_ : flat_, bucket)));
    if (nvtx->enabled()) nvtx->rangePop();
  }
}

torch::Tensor GradientReducer::range(const torch::Tensor& flat, size_t bucket) const {
  return flat.narrow(0, buckets_[bucket].begin, buckets_[bucket].end - buckets_[bucket].begin);
}

}  // namespace reprise
