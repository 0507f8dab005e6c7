// ctest-labels: gpu
// NCCL and host staging on a real device, one rank: the contract holds, and the host does not wait.
#include <torch/cuda.h>

#include "distributed/nccl_communicator.h"
#include "distributed/staged_communicator.h"
#include "launcher/device.h"
#include "tests/distributed/communicator_contract.h"
#include "tests/distributed/threads_communicator.h"

namespace reprise {
namespace {

// Carries the contract's tensors, which lie on the CPU, to the device and back.
class Carried : public Communicator {
 public:
  Carried(Communicator& communicator, torch::Device device)
      : Communicator(communicator.place()), communicator_(communicator), device_(device) {}
  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override {
    const torch::Tensor there = carry(flat);
    const std::shared_ptr<Pending> sum = communicator_.start_sum(there);
    const auto wait = [=] {
      sum->wait();
      flat.copy_(there);
    };
    return std::make_unique<Pending>(Pending{wait, sum->interval});
  }
  void broadcast(torch::Tensor flat, int root) override {
    const torch::Tensor there = carry(flat);
    communicator_.broadcast(there, root);
    flat.copy_(there);
  }
  void barrier() override { communicator_.barrier(); }
  void set_wait_limit(double seconds, std::string during) override { communicator_.set_wait_limit(seconds, during); }
  void abort(const std::string& reason) noexcept override { communicator_.abort(reason); }

 private:
  torch::Tensor carry(const torch::Tensor& flat) const {  // as it is: contiguous or not
    return torch::empty_strided(flat.sizes(), flat.strides(), flat.options().device(device_)).copy_(flat);
  }

  Communicator& communicator_;
  const torch::Device device_;
};

struct OnGpu : testing::Test {
  void SetUp() override {
    if (visible_devices() == 0) GTEST_SKIP() << "needs a CUDA build and a device";
    device = use_device(0, /*tf32=*/false);
  }
  void hold_contract(Communicator& communicator) {
    Carried carried(communicator, device);
    for (const contract::Case& each : contract::cases()) {
      SCOPED_TRACE(each.name);
      each.run(carried);
    }
  }
  std::unique_ptr<Communicator> start_nccl() {
    const auto give_up = [](const std::string& why) { ADD_FAILURE() << why; };
    return make_nccl_communicator(*host, device, {.give_up = give_up}, 60);
  }

  torch::Device device = torch::kCPU;
  std::unique_ptr<Communicator> host = std::move(make_threads_communicators(1).front());
};

TEST_F(OnGpu, NcclHoldsTheContract) { hold_contract(*start_nccl()); }

TEST_F(OnGpu, StagingHoldsTheContract) { hold_contract(*make_staged_communicator(*host, device)); }

// In half a second of work on the device, what follows it is called in a fraction of that time.
TEST_F(OnGpu, TheHostNeverWaitsForNccl) {
  const auto nccl = start_nccl();
  const torch::Tensor matrix = torch::full({4096, 4096}, 1.0 / 4096, device);
  torch::Tensor flat = torch::ones({1 << 22}, device);
  torch::Tensor product = matrix.mm(matrix);
  nccl->start_sum(flat)->wait();  // the first of each costs more
  torch::cuda::synchronize();

  const double begin = steady_seconds();
  for (int i = 0; i < 200; ++i) product = torch::mm(product, matrix);
  const double enqueued = steady_seconds();
  flat += product[0][0] * 4096;  // which is 1
  const auto sum = nccl->start_sum(flat);
  sum->wait();
  flat += 1;
  const double called = steady_seconds();
  torch::cuda::synchronize();
  const double done = steady_seconds();
  EXPECT_LT(called - enqueued, (done - begin) / 10) << "of " << done - begin << " s";
  EXPECT_NEAR(flat[7].item<double>(), 3, 1e-3);
  const WireInterval interval = sum->interval();
  EXPECT_GT(interval.started_seconds, called) << "after the products";
  EXPECT_LE(interval.finished_seconds, done);
}

TEST_F(OnGpu, ExpectedBuffersSumAsOthers) {
  const auto nccl = start_nccl();
  torch::Tensor flat = torch::ones({5 << 20}, device);
  nccl->expect_sums_in(flat);
  nccl->start_sum(flat.narrow(0, 1 << 20, 1 << 20))->wait();
  EXPECT_EQ(flat.sum().item<double>(), 5 << 20);
}

TEST_F(OnGpu, DescribesTheDevice) {
  const DeviceFacts facts = describe_device(0);
  EXPECT_FALSE(facts.name.empty());
  EXPECT_FALSE(facts.address.empty());
  EXPECT_EQ(facts.uuid.size(), 32u);
  EXPECT_GT(facts.memory_bytes, uint64_t{1} << 30);
}

TEST_F(OnGpu, OneNcclIsInTheProcess) { EXPECT_EQ(refusal_of(nccl_facts()), ""); }

}  // namespace
}  // namespace reprise
