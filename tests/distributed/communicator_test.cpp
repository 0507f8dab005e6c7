// The contract against ranks that are threads, and what happens when one of them fails.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "tests/distributed/communicator_contract.h"
#include "tests/distributed/threads_communicator.h"

namespace reprise {
namespace {

class Contract : public testing::TestWithParam<std::tuple<contract::Case, int>> {};

TEST_P(Contract, Holds) {
  const auto& [contract_case, size] = GetParam();
  run_as_threads(size, contract_case.run);
}

std::string contract_name(const testing::TestParamInfo<std::tuple<contract::Case, int>>& each) {
  return std::get<0>(each.param).name + std::string("_") + std::to_string(std::get<1>(each.param));
}

INSTANTIATE_TEST_SUITE_P(Threads, Contract,
                         testing::Combine(testing::ValuesIn(contract::cases()), testing::Values(1, 2, 3, 4)),
                         contract_name);

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string lost_message(const std::function<void()>& call) {
  try {
    call();
  } catch (const PeerLost& lost) {
    return lost.what();
  }
  return "";
}

TEST(Deadline, NamesTheSilentRankTheCallAndThePhase) {
  for (const int size : {2, 3, 4}) {
    std::mutex mutex;
    std::condition_variable released;
    bool is_over = false;
    run_as_threads(size, [&](Communicator& communicator) {
      communicator.set_wait_limit(0.2, "step 12");
      if (communicator.rank() != 2 % size) {  // all but rank 1's right neighbour stay, but make no call
        std::unique_lock lock(mutex);
        released.wait(lock, [&] { return is_over; });
        return;
      }
      const auto begin = std::chrono::steady_clock::now();
      auto flat = torch::zeros({1 << 20});
      const auto pending = communicator.start_sum(flat);
      const std::string message = lost_message([&] { pending->wait(); });
      EXPECT_GE(seconds_since(begin), 0.2);
      EXPECT_LT(seconds_since(begin), 1.2);
      EXPECT_EQ(message, communicator.describe(communicator.rank()) + ": no answer from " + communicator.describe(1) +
                             " in all-reduce of 4.0 MiB for 0.2 s during step 12");
      EXPECT_NE(lost_message([&] { communicator.start_sum(flat); }), "") << "the communicator is dead";
      EXPECT_LT(seconds_since(begin), 1.2) << "and says so at once";
      const std::lock_guard lock(mutex);
      is_over = true;
      released.notify_all();
    });
  }
}

TEST(Deadline, ClockRunsOnlyWhileTheMainThreadWaits) {
  run_as_threads(2, [](Communicator& communicator) {
    communicator.set_wait_limit(0.3, "step 1");
    auto flat = torch::ones({1000});
    if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(450));
    const auto pending = communicator.start_sum(flat);
    if (communicator.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(450));
    pending->wait();
    EXPECT_EQ(flat[0].item<float>(), 2);
  });
}

TEST(Failure, ARankThatThrowsEndsTheOthersWaitsAtOnce) {
  for (const int size : {2, 4}) {
    const auto begin = std::chrono::steady_clock::now();
    std::atomic<int> told = 0;
    const auto body = [&](Communicator& communicator) {
      communicator.set_wait_limit(30, "step 3");
      if (communicator.rank() == 1) throw std::out_of_range("token 70000");
      const std::string message = lost_message([&] { communicator.barrier(); });
      EXPECT_EQ(message, communicator.describe(communicator.rank()) + ": " + communicator.describe(1) +
                             " left the group in barrier during step 3");
      ++told;
    };
    EXPECT_THROW(run_as_threads(size, body), std::out_of_range);
    EXPECT_EQ(told, size - 1);
    EXPECT_LT(seconds_since(begin), 5);
  }
}

// Ranks 1 and 3 are rank 2's neighbours; both compute and do not notice. Their communication threads pass the news on.
TEST(Failure, NewsReachesARankThroughNeighboursThatDoNotWait) {
  std::mutex mutex;
  std::condition_variable told;
  bool is_told = false;
  const auto body = [&](Communicator& communicator) {
    communicator.set_wait_limit(20, "step 3");
    if (communicator.rank() == 0) throw std::out_of_range("token 70000");
    auto flat = torch::ones({1000});
    const auto pending = communicator.start_sum(flat);
    const std::string message = communicator.rank() == 2 ? lost_message([&] { pending->wait(); }) : "not waiting";
    EXPECT_NE(message, "");
    std::unique_lock lock(mutex);
    is_told |= communicator.rank() == 2;
    told.notify_all();
    told.wait(lock, [&] { return is_told; });
  };
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(run_as_threads(4, body), std::out_of_range);
  EXPECT_LT(seconds_since(begin), 5);
}

// A failed rank drops its tensors while the others' copies are under way: the sanitizers watch.
TEST(Failure, DroppingOperationsUnderWayIsSafe) {
  const auto body = [](Communicator& communicator) {
    communicator.set_wait_limit(30, "step 3");
    auto flat = torch::ones({1 << 20});
    const auto pending = communicator.start_sum(flat);
    if (communicator.rank() == 0) throw std::logic_error("dropped");
    EXPECT_NE(lost_message([&] {
                pending->wait();
                communicator.barrier();
              }),
              "");
  };
  for (int repeat = 0; repeat < 20; ++repeat) EXPECT_THROW(run_as_threads(3, body), std::logic_error);
}

TEST(Failure, MessagesOfDifferentCallsNeverMeet) {
  run_as_threads(2, [&](Communicator& communicator) {
    communicator.set_wait_limit(0.5, "step 3");
    auto flat = torch::ones({100});
    if (communicator.rank() == 1) flat = torch::ones({200}).narrow(0, 100, 100);  // the same bytes of another place
    EXPECT_NE(lost_message([&] { communicator.start_sum(flat)->wait(); }), "");
    EXPECT_TRUE(torch::equal(flat, torch::ones({100})));
  });
}

TEST(Failure, AbortFromAnotherThreadEndsTheWait) {
  std::promise<void> over;
  run_as_threads(2, [&](Communicator& communicator) {
    communicator.set_wait_limit(1e6, "step 3");
    if (communicator.rank() == 1) return over.get_future().wait();
    std::jthread other([&] { communicator.abort("rank 1 is stuck"); });
    auto flat = torch::ones({100});
    EXPECT_NE(lost_message([&] { communicator.start_sum(flat)->wait(); }).find("rank 1 is stuck"), std::string::npos);
    over.set_value();
  });
}

}  // namespace
}  // namespace reprise
