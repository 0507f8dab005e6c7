#include "distributed/staged_communicator.h"

#include "distributed/ring.h"

namespace reprise {
namespace {

class StagedCommunicator : public Communicator {
 public:
  StagedCommunicator(Communicator& host, torch::Device device)
      : Communicator(host.place(), host.shared_pulse()), host_(host), device_(device) {}

  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override {
    if (flat.device() != device_) return host_.start_sum(flat);
    const torch::Tensor copy = copy_out(flat);
    const std::shared_ptr<Pending> sum = host_.start_sum(copy);
    const auto wait = [=] {
      sum->wait();
      flat.copy_(copy, /*non_blocking=*/true);  // the allocator of pinned memory keeps the copy until it has been read
    };
    return std::make_unique<Pending>(Pending{wait, sum->interval});
  }

  void broadcast(torch::Tensor flat, int root) override {
    if (flat.device() != device_) return host_.broadcast(flat, root);
    const torch::Tensor copy = copy_out(flat);
    host_.broadcast(copy, root);
    flat.copy_(copy);
  }

  void barrier() override { host_.barrier(); }
  void set_wait_limit(double seconds, std::string during) override { host_.set_wait_limit(seconds, std::move(during)); }
  void abort(const std::string& reason) noexcept override { host_.abort(reason); }

 private:
  torch::Tensor copy_out(const torch::Tensor& flat) const {
    require_flat(flat, device_);
    // The order of summation follows from the elements' places among the ring's stripes, which the copy keeps.
    const int64_t place = flat.storage_offset() % static_cast<int64_t>(kStripeBytes * size());
    const auto options = flat.options().device(torch::kCPU).pinned_memory(!device_.is_cpu());
    return torch::empty({place + flat.numel()}, options).narrow(0, place, flat.numel()).view(flat.sizes()).copy_(flat);
  }

  Communicator& host_;
  const torch::Device device_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged_communicator(Communicator& host, torch::Device device) {
  return std::make_unique<StagedCommunicator>(host, device);
}

}  // namespace reprise
