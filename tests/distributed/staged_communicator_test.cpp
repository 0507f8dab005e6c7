// Staging without a device: the tensors to be carried lie on the CPU, and so do the copies that travel.
#include "distributed/staged_communicator.h"

#include "tests/distributed/threads_communicator.h"
#include "tests/distributed/communicator_contract.h"

namespace reprise {
namespace {

class Contract : public testing::TestWithParam<std::tuple<contract::Case, int>> {};

TEST_P(Contract, HoldsThroughStaging) {
  const auto& [contract_case, size] = GetParam();
  run_as_threads(size,
                 [run = contract_case.run](Communicator& host) { run(*make_staged_communicator(host, torch::kCPU)); });
}

INSTANTIATE_TEST_SUITE_P(Staged, Contract,
                         testing::Combine(testing::ValuesIn(contract::cases()), testing::Values(1, 2, 3)),
                         [](const auto& each) {
                           return std::get<0>(each.param).name + std::string("_") +
                                  std::to_string(std::get<1>(each.param));
                         });

TEST(Staged, TheTensorItselfIsUntouchedUntilTheWait) {
  run_as_threads(2, [](Communicator& host) {
    const auto staged = make_staged_communicator(host, torch::kCPU);
    torch::Tensor flat = torch::full({1000}, 1.0 + host.rank());
    const auto pending = staged->start_sum(flat);
    staged->barrier();
    EXPECT_EQ(flat[0].item<double>(), 1.0 + host.rank());
    pending->wait();
    EXPECT_EQ(flat[999].item<double>(), 3.0);
  });
}

// Of three ranks the order of summation follows from an element's place in the whole buffer, which a copy must keep.
TEST(Staged, RangesOfABufferSumTheSameBitsHoweverCut) {
  run_as_threads(3, [](Communicator& host) {
    constexpr int64_t kCount = 200003;
    const torch::Tensor expected = contract::sum(host, contract::noise(kCount, host.rank()));
    const auto staged = make_staged_communicator(host, torch::kCPU);
    torch::Tensor flat = contract::noise(kCount, host.rank());
    for (int64_t begin = 0; begin < kCount; begin += 5000) {
      staged->start_sum(flat.narrow(0, begin, std::min<int64_t>(5000, kCount - begin)))->wait();
    }
    EXPECT_TRUE(contract::same_bits(flat, expected));
  });
}

}  // namespace
}  // namespace reprise
