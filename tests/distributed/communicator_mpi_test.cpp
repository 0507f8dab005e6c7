// The contract against MPI, on every rank of an mpirun; fails when any rank failed.
#include <iostream>

#include "distributed/mpi_communicator.h"
#include "tests/distributed/communicator_contract.h"

namespace reprise {
namespace {

class MpiContract : public testing::Test {
 public:
  MpiContract(Communicator& communicator, const contract::Case& contract_case)
      : communicator_(communicator), case_(contract_case) {}
  void TestBody() override { case_.run(communicator_); }

 private:
  Communicator& communicator_;
  const contract::Case& case_;
};

// One rank prints the course, the others only what fails.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(std::string rank) : rank_(std::move(rank)) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed())
      std::cerr << rank_ << ", line " << result.line_number() << ": " << result.message() << std::endl;
  }

 private:
  std::string rank_;
};

int run_contract(Communicator& communicator) {
  for (const contract::Case& each : contract::cases()) {
    testing::RegisterTest("MpiContract", each.name, nullptr, nullptr, __FILE__, __LINE__,
                          [&] { return new MpiContract(communicator, each); });
  }
  const int failed_here = RUN_ALL_TESTS();
  torch::Tensor failed = torch::full({1}, failed_here, torch::kInt64);
  return contract::sum(communicator, failed).item<int64_t>() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace reprise

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    const auto communicator = reprise::make_mpi_communicator({60, [](const std::string&) { std::abort(); }});
    if (communicator->rank() != 0) {
      auto& listeners = testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
      listeners.Append(new reprise::FailurePrinter(communicator->describe(communicator->rank())));
    }
    return reprise::run_contract(*communicator);
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    reprise::abort_mpi_job(1);
  }
}
