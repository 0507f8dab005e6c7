// The NCCL communicator against an NCCL and a device that are made up: distributed/nccl_communicator.cpp is compiled
// once more for this test, with fake_nccl/, whose functions hang, fail, or are slow when a test says so.
#include "distributed/nccl_communicator.h"

#include <c10/core/AllocatorConfig.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "tests/distributed/fake_device.h"
#include "tests/distributed/fake_nccl/functions.h"
#include "tests/distributed/threads_communicator.h"

namespace reprise {
namespace {

using std::chrono::milliseconds;

struct NcclTest : testing::Test {
  NcclTest() {
    nccl = &fake;
    fake_device.hangs = fake_device.fails = false;
    fake_device.host_waits = fake_device.events = fake_device.reached = 0;
    fake_device.take_log();
  }

  std::unique_ptr<Communicator> start(double limit_seconds = 5) {
    const auto give_up = [this](const std::string& message) { gave_up.set_value(message); };
    return make_nccl_communicator(*host, kFake, Patience{0.2, give_up}, limit_seconds);
  }
  static std::string lost_message(const std::function<void()>& call) {
    try {
      call();
    } catch (const PeerLost& lost) {
      return lost.what();
    }
    return "";
  }
  // Until a wait throws: the watching thread has found out.
  static std::string wait_until_lost(Pending& pending) {
    for (int i = 0; i < 3000; ++i) {
      const std::string message = lost_message([&] { pending.wait(); });
      if (!message.empty()) return message;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return "";
  }
  std::string given_up() {
    auto message = gave_up.get_future();
    return message.wait_for(std::chrono::seconds(5)) == std::future_status::ready ? message.get() : "";
  }

  std::unique_ptr<Communicator> host = std::move(make_threads_communicators(1).front());
  const std::string self = host->describe(0);
  FakeNccl fake;
  std::promise<std::string> gave_up;
  torch::Tensor values = torch::ones({1 << 20});
  torch::Tensor flat = on_fake_device(values);
};

using Log = std::vector<std::string>;

TEST_F(NcclTest, StreamsMeetByEventsAndTheHostWaitsForNone) {
  const auto communicator = start();
  EXPECT_EQ(fake_device.take_log(), Log{"start"});
  const auto sum = communicator->start_sum(flat);
  EXPECT_EQ(fake_device.take_log(), (Log{"stream 0 records 1", "stream 7 awaits 1", "stream 7 records 2",
                                         "sum of 1048576", "stream 7 records 3"}));
  sum->wait();
  EXPECT_EQ(fake_device.take_log(), Log{"stream 0 awaits 3"});
  communicator->broadcast(flat, 0);
  EXPECT_EQ(fake_device.take_log(), (Log{"stream 0 records 4", "stream 7 awaits 4", "stream 7 records 5",
                                         "broadcast of 4194304 from 0", "stream 7 records 6", "stream 0 awaits 6"}));
  EXPECT_EQ(fake_device.host_waits, 0);
  const double asked = steady_seconds();
  const WireInterval interval = sum->interval();
  EXPECT_EQ(fake_device.host_waits, 1);
  EXPECT_LE(interval.enqueued_seconds, asked);
  EXPECT_GE(interval.started_seconds, asked - 0.5);  // by the made-up device's clock
  EXPECT_LE(interval.finished_seconds, steady_seconds() - 0.5);
}

TEST_F(NcclTest, AHealthyLifeEndsInOrderAndLetsGoOfAllEvents) {
  {
    const auto communicator = start();
    communicator->start_sum(flat)->wait();
    communicator->barrier();
    fake_device.take_log();
  }
  EXPECT_EQ(fake_device.take_log(), (Log{"finalize", "destroy"}));
  EXPECT_EQ(fake_device.alive_events, 0);
}

TEST_F(NcclTest, EveryRankStartsWithTheIdOfRank0) {
  run_as_threads(3, [](Communicator& each) {
    const auto communicator = make_nccl_communicator(each, kFake, {1, [](const std::string&) {}}, 5);
    EXPECT_EQ(communicator->rank(), each.rank());
    EXPECT_EQ(communicator->describe(2), each.describe(2));
  });
  EXPECT_EQ(fake_device.take_log().size(), 9u);  // start, finalize, destroy
}

TEST_F(NcclTest, TensorsOnTheCpuTravelWithTheHost) {
  const auto communicator = start();
  communicator->start_sum(values)->wait();
  communicator->broadcast(values, 0);
  EXPECT_EQ(fake_device.take_log(), Log{"start"});
}

TEST_F(NcclTest, RefusesWhatItCannotMoveAndGoesOn) {
  const auto communicator = start();
  torch::Tensor bytes = torch::zeros({4}, torch::kUInt8);
  EXPECT_THROW(communicator->start_sum(on_fake_device(bytes)), std::invalid_argument);
  EXPECT_THROW(communicator->start_sum(on_fake_device(torch::ones({4, 4}).t())), std::invalid_argument);
  EXPECT_THROW(communicator->broadcast(flat, 1), std::invalid_argument);
  communicator->start_sum(flat)->wait();
}

TEST_F(NcclTest, TheLastExpectedBufferIsRegistered) {
  const auto communicator = start();
  fake_device.take_log();
  communicator->expect_sums_in(flat);
  communicator->expect_sums_in(flat.narrow(0, 0, 16));
  communicator->expect_sums_in(values);  // on the CPU
  const std::string idle = "host awaits stream 7";
  EXPECT_EQ(fake_device.take_log(),
            (Log{idle, "register 4194304", idle, "deregister", "register 64", idle, "deregister"}));
  fake.registered = ncclInternalError;  // no error of ours
  communicator->expect_sums_in(flat);
  communicator->start_sum(flat)->wait();
}

TEST_F(NcclTest, SegmentsThatGrowAreNotRegistered) {
  const auto communicator = start();
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  communicator->expect_sums_in(flat);
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:False");
  EXPECT_FALSE(fake_device.saw("register 4194304"));
}

TEST_F(NcclTest, ACallThatGoesOnIsWaitedFor) {
  fake.polls_in_progress = 20;
  const auto communicator = start();
  EXPECT_EQ(fake.polls_in_progress, 0);
  fake.polls_in_progress = 3;
  communicator->start_sum(flat)->wait();
  EXPECT_EQ(fake.polls_in_progress, 0);
}

TEST_F(NcclTest, AStartThatNeverEndsIsAbortedAtTheLimit) {
  fake.polls_in_progress = 1 << 30;
  EXPECT_EQ(lost_message([&] { start(0.1); }), self + ": NCCL's start has not ended within 0.1 s during start");
  EXPECT_EQ(fake_device.take_log(), (Log{"start", "abort"}));
}

TEST_F(NcclTest, AnEndThatNeverEndsIsAbortedAtTheLimit) {
  {
    const auto communicator = start(0.1);
    fake.polls_in_progress = 1 << 30;
  }
  EXPECT_EQ(fake_device.take_log(), (Log{"start", "finalize", "abort"}));
}

TEST_F(NcclTest, AnExceptionUnderWaySkipsTheCollectiveEnd) {
  try {
    const auto communicator = start();
    throw std::out_of_range("token 70000");
  } catch (const std::out_of_range&) {
  }
  EXPECT_EQ(fake_device.take_log(), (Log{"start", "abort"}));
}

TEST_F(NcclTest, ASumThatNeverEndsIsAbortedAtTheLimitAndEveryLaterCallSaysSo) {
  const auto communicator = start();
  communicator->set_wait_limit(0.1, "step 12");
  fake_device.hangs = true;
  const double begin = steady_seconds();
  const auto pending = communicator->start_sum(flat);
  pending->wait();  // the stream waits, not the host
  EXPECT_LT(steady_seconds() - begin, 0.09);
  const std::string message = wait_until_lost(*pending);
  EXPECT_GE(steady_seconds() - begin, 0.1);
  EXPECT_EQ(message, self + ": NCCL's all-reduce of 4.0 MiB has not ended within 0.1 s during step 12");
  EXPECT_TRUE(fake_device.saw("abort"));
  fake_device.hangs = false;  // as an abort does
  EXPECT_EQ(lost_message([&] { pending->interval(); }), message);
  EXPECT_EQ(lost_message([&] { communicator->start_sum(flat); }), message);
  EXPECT_EQ(lost_message([&] { communicator->broadcast(flat, 0); }), message);
  EXPECT_EQ(lost_message([&] { communicator->barrier(); }), message);
}

TEST_F(NcclTest, TheLimitCountsFromTheEndOfTheOneBefore) {
  const auto communicator = start();
  communicator->set_wait_limit(0.6, "step 12");
  fake_device.hangs = true;
  const auto first = communicator->start_sum(flat);
  const int first_end = fake_device.events;
  const auto second = communicator->start_sum(flat);
  std::this_thread::sleep_for(milliseconds(400));
  fake_device.reached = first_end;
  std::this_thread::sleep_for(milliseconds(400));
  EXPECT_FALSE(fake_device.saw("abort")) << "0.8 s after its call, 0.4 s after the end of the one before";
  EXPECT_NE(wait_until_lost(*second), "");
}

TEST_F(NcclTest, AnErrorThatNcclFindsWhileASumIsUnderWayEndsIt) {
  const auto communicator = start();
  fake_device.hangs = true;
  const auto pending = communicator->start_sum(flat);
  fake.state = ncclRemoteError;
  EXPECT_EQ(wait_until_lost(*pending),
            self + ": NCCL's all-reduce of 4.0 MiB failed: remote error; said the library during start");
  EXPECT_TRUE(fake_device.saw("abort"));
}

TEST_F(NcclTest, AnErrorOfTheDeviceWhileASumIsUnderWayEndsIt) {
  const auto communicator = start();
  fake_device.hangs = true;
  const auto pending = communicator->start_sum(flat);
  fake_device.fails = true;
  const std::string message = wait_until_lost(*pending);
  EXPECT_NE(message.find("met an error of the device: an illegal memory access"), std::string::npos) << message;
  EXPECT_EQ(message.find("\n"), std::string::npos) << message;
}

TEST_F(NcclTest, AnErrorOfTheCallItselfIsThrownThere) {
  const auto communicator = start();
  fake.result = ncclInternalError;
  EXPECT_EQ(lost_message([&] { communicator->start_sum(flat); }),
            self + ": NCCL's all-reduce of 4.0 MiB failed: other error; said the library during start");
}

TEST_F(NcclTest, AnAbortThatHangsGivesUpTheProcess) {
  fake.abort_hangs = true;
  const auto communicator = start();
  communicator->set_wait_limit(0.05, "step 1");
  fake_device.hangs = true;
  communicator->start_sum(flat);
  const std::string message = given_up();
  EXPECT_NE(message.find("during step 1; its abort has not ended within 0.2 s"), std::string::npos) << message;
  fake.abort_hangs = false;
}

TEST_F(NcclTest, ACallThatDoesNotReturnGivesUpTheProcess) {
  const auto communicator = start();
  fake.sum_hangs = true;
  std::thread releases([&, message = gave_up.get_future()]() mutable {
    EXPECT_EQ(message.wait_for(std::chrono::seconds(5)), std::future_status::ready);
    EXPECT_EQ(message.get(), self + ": a call of NCCL does not return");
    fake.sum_hangs = false;
  });
  communicator->start_sum(flat);
  releases.join();
}

}  // namespace
}  // namespace reprise
