#include "distributed/ring_communicator.h"

#include <cstdio>
#include <stdexcept>

namespace reprise {
namespace {

class WirePending : public Pending {
 public:
  WirePending(WireThread& wire, std::shared_ptr<WireJob> job) : wire_(wire), job_(std::move(job)) {}
  void wait() override { wire_.wait(*job_); }
  WireInterval interval() const override { return job_->interval; }

 private:
  WireThread& wire_;
  std::shared_ptr<WireJob> job_;
};

std::string readable_bytes(const torch::Tensor& tensor) {
  const double bytes = static_cast<double>(tensor.nbytes());
  char text[32];
  if (bytes < 1024) {
    std::snprintf(text, sizeof text, "%.0f bytes", bytes);
  } else if (bytes < 1024 * 1024) {
    std::snprintf(text, sizeof text, "%.1f KiB", bytes / 1024);
  } else {
    std::snprintf(text, sizeof text, "%.1f MiB", bytes / (1024 * 1024));
  }
  return text;
}

void require_flat(const torch::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu()) {
    throw std::invalid_argument("collectives of this communicator take contiguous CPU tensors");
  }
}

SumType sum_type(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32:
      return SumType::fp32;
    case torch::kFloat64:
      return SumType::fp64;
    case torch::kBFloat16:
      return SumType::bf16;
    case torch::kInt64:
      return SumType::int64;
    default:
      throw std::invalid_argument(std::string("all-reduce does not sum tensors of type ") + c10::toString(type));
  }
}

}  // namespace

RingCommunicator::RingCommunicator(std::unique_ptr<Transport> transport)
    : transport_(std::move(transport)), wire_(*transport_) {}

std::unique_ptr<Pending> RingCommunicator::start_sum(torch::Tensor flat) {
  require_flat(flat);
  const SumType type = sum_type(flat.scalar_type());
  std::string name = "all-reduce of " + readable_bytes(flat);
  RingSchedule schedule = sum_schedule(rank(), size(), flat.numel(), flat.element_size(), flat.storage_offset());
  return std::make_unique<WirePending>(wire_, start(std::move(flat), std::move(schedule), type, std::move(name)));
}

void RingCommunicator::broadcast(torch::Tensor flat, int root) {
  require_flat(flat);
  if (root < 0 || root >= size()) throw std::invalid_argument("broadcast from rank " + std::to_string(root));
  std::string name = "broadcast of " + readable_bytes(flat) + " from " + describe(root);
  RingSchedule schedule = broadcast_schedule(rank(), size(), root, flat.numel(), flat.element_size());
  wire_.wait(*start(std::move(flat), std::move(schedule), SumType::fp32, std::move(name)));
}

void RingCommunicator::barrier() {
  // A sum of one word: nobody holds the result before everybody has added its share.
  torch::Tensor word = torch::zeros({1}, torch::kInt64);
  RingSchedule schedule = sum_schedule(rank(), size(), 1, word.element_size());
  wire_.wait(*start(std::move(word), std::move(schedule), SumType::int64, "barrier"));
}

void RingCommunicator::set_wait_limit(double seconds, std::string during) {
  wire_.set_wait_limit(seconds, std::move(during));
}

std::shared_ptr<WireJob> RingCommunicator::start(torch::Tensor flat, RingSchedule schedule, SumType type,
                                                 std::string name) {
  auto job =
      std::make_shared<WireJob>(WireJob{RingOperation(std::move(flat), std::move(schedule), type), std::move(name)});
  wire_.start(job);
  return job;
}

}  // namespace reprise
