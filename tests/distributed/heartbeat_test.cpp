// Heartbeats of ranks that are threads, by real datagrams over the loopback interface.
#include "distributed/heartbeat.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <fstream>
#include <future>
#include <sstream>

#include "tests/distributed/threads_communicator.h"

namespace reprise {
namespace {

std::string events_path(int rank) {
  return fmt::format("{}heartbeat_test.{}.rank{}", testing::TempDir(), getpid(), rank);
}

constexpr double kPatience = 30;  // for what should take tenths of a second

// What the ranks' heartbeats did to a job, and how its main threads learn of it.
struct Job {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> lines;
  int ended = 0;

  HeartbeatSetting setting(int rank) {
    return {.describe = [](uint64_t position) { return "place " + std::to_string(position); },
            .deadline_seconds = kPatience,
            .events_path = events_path(rank),
            .say =
                [this](const std::string& line) {
                  const std::lock_guard lock(mutex);
                  lines.push_back(line);
                },
            .arm = [] {},
            .end_job =
                [this] {
                  const std::lock_guard lock(mutex);
                  ++ended;
                  changed.notify_all();
                }};
  }
  void wait_for_end(int ranks) {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::duration<double>(kPatience), [&] { return ended >= ranks; }));
  }
  bool has_line() {
    const std::lock_guard lock(mutex);
    return !lines.empty();
  }
  std::string line() {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(lines.size(), 1U);
    return lines.empty() ? "" : lines.front();
  }
};

std::string events_of(int rank) {
  std::ifstream file(events_path(rank));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void wait_in(Communicator& communicator, torch::Tensor flat) {
  EXPECT_THROW(communicator.start_sum(std::move(flat))->wait(), PeerLost);
}

TEST(Heartbeat, AStuckRankIsNamedOnceAndAllWriteTheirEvents) {
  for (const int stuck : {0, 1, 2}) {
    Job job;
    std::string name;
    run_as_threads(3, [&](Communicator& communicator) {
      Heartbeat heartbeat(communicator, job.setting(communicator.rank()));
      communicator.set_wait_limit(1, "step 3");
      communicator.barrier();
      communicator.pulse().move_to(40 + communicator.rank());
      if (communicator.rank() == stuck) name = communicator.describe(stuck);
      if (communicator.rank() != stuck) wait_in(communicator, torch::ones({1000}));
      job.wait_for_end(3);
    });
    EXPECT_EQ(job.line().find(name + " is stuck: alive, but for "), 0U) << job.line();
    EXPECT_NE(job.line().find("s at place " + std::to_string(40 + stuck)), std::string::npos) << job.line();
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_NE(events_of(rank).find(" place " + std::to_string(40 + rank) + "\n"), std::string::npos);
      EXPECT_EQ(events_of(rank).find("makes a call of 4000 bytes") != std::string::npos, rank != stuck);
    }
  }
}

// Drop, swap, resize and retype one of three buckets on one rank. The disk for the events is full meanwhile.
TEST(Heartbeat, AMismatchIsNamedBeforeAnyLimit) {
  const auto flat = [](torch::Dtype type = torch::kFloat32) { return torch::ones({3000}, type); };
  const auto bucket = [](const torch::Tensor& all, int64_t i) { return all.narrow(0, 1000 * i, 1000); };
  const torch::Tensor all = flat();
  const std::vector<std::pair<std::vector<torch::Tensor>, std::string>> cases{
      {{bucket(all, 0), bucket(all, 2)}, "4000 bytes of Float at element 2000"},
      {{bucket(all, 0), bucket(all, 2), bucket(all, 1)}, "4000 bytes of Float at element 2000"},
      {{bucket(all, 0), all.narrow(0, 1000, 900), bucket(all, 2)}, "3600 bytes of Float at element 1000"},
      {{bucket(all, 0), bucket(flat(torch::kInt64), 1)}, "8000 bytes of Long at element 1000"}};
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto& [odd_calls, text] = cases[i];
    const int odd = static_cast<int>(i % 3);
    Job job;
    run_as_threads(3, [&](Communicator& communicator) {
      HeartbeatSetting setting = job.setting(communicator.rank());
      setting.events_path = "/dev/full";
      Heartbeat heartbeat(communicator, setting);
      for (int move = 0; move < 2000; ++move) communicator.pulse().move_to(move);
      communicator.set_wait_limit(1e5, "step 3");
      const torch::Tensor own = flat();
      const std::vector<torch::Tensor> usual{bucket(own, 0), bucket(own, 1), bucket(own, 2)};
      std::vector<std::unique_ptr<Pending>> pending;
      for (const auto& each : communicator.rank() == odd ? odd_calls : usual) {
        pending.push_back(communicator.start_sum(each));
      }
      EXPECT_THROW(
          {
            for (const auto& each : pending) each->wait();
            communicator.barrier();
          },
          PeerLost);
      job.wait_for_end(3);
    });
    EXPECT_EQ(job.line().find("rank " + std::to_string(odd) + " on"), 0U) << job.line();
    EXPECT_NE(job.line().find("is an all-reduce of " + text +
                              ", there an all-reduce of 4000 bytes of Float at element "
                              "1000"),
              std::string::npos)
        << job.line();
  }
}

TEST(Heartbeat, ASlowRankEndsNothing) {
  Job job;
  run_as_threads(2, [&](Communicator& communicator) {
    Heartbeat heartbeat(communicator, job.setting(communicator.rank()));
    communicator.set_wait_limit(1.5, "step 3");
    for (int move = 0; communicator.rank() == 1 && move < 10 * kPatience && !job.has_line(); ++move) {
      communicator.pulse().move_to(move);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    communicator.barrier();
  });
  EXPECT_EQ(job.ended, 0);
  EXPECT_EQ(job.line().find("warning: rank 1 on"), 0U) << job.line();
}

TEST(Heartbeat, AnOrderlyEndIsNoDeath) {
  Job job;
  for (int repeat = 0; repeat < 3; ++repeat) {
    run_as_threads(4, [&](Communicator& communicator) {
      const Heartbeat heartbeat(communicator, job.setting(communicator.rank()));
      communicator.set_wait_limit(10, "step 3");
      communicator.barrier();
    });
  }
  EXPECT_EQ(job.ended, 0);
  EXPECT_TRUE(job.lines.empty());
}

TEST(Heartbeat, WhoLeavesExplainsItself) {
  Job job;
  run_as_threads(2, [&](Communicator& communicator) {
    const auto heartbeat = std::make_unique<Heartbeat>(communicator, job.setting(communicator.rank()));
    communicator.set_wait_limit(1, "step 3");
    communicator.barrier();
    if (communicator.rank() == 1) heartbeat->leave();
    if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    communicator.barrier();
  });
  EXPECT_TRUE(job.lines.empty()) << job.lines.front();
}

// To every UDP socket of this process, with and without the length of a real beat.
void send_forged_beats() {
  const int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (int file = 3; file < 200; ++file) {
    sockaddr_in to{};
    socklen_t length = sizeof to;
    int type = 0;
    socklen_t type_length = sizeof type;
    getsockopt(file, SOL_SOCKET, SO_TYPE, &type, &type_length);
    if (type != SOCK_DGRAM || getsockname(file, reinterpret_cast<sockaddr*>(&to), &length) != 0) continue;
    const std::array<uint32_t, 256> ends_the_job{0, 0, 0, 2};  // token, rank, flags
    for (const size_t bytes : {0UL, 16UL, sizeof ends_the_job}) {
      sendto(sender, ends_the_job.data(), bytes, 0, reinterpret_cast<const sockaddr*>(&to), length);
    }
  }
  close(sender);
}

TEST(Heartbeat, DatagramsWithoutTheTokenAreNotHeard) {
  Job job;
  run_as_threads(3, [&](Communicator& communicator) {
    const Heartbeat heartbeat(communicator, job.setting(communicator.rank()));
    communicator.set_wait_limit(10, "step 3");
    for (int repeat = 0; repeat < 5; ++repeat) {
      if (communicator.rank() == 2) send_forged_beats();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      communicator.barrier();
    }
  });
  EXPECT_EQ(job.ended, 0);
  EXPECT_TRUE(job.lines.empty());
}

TEST(Heartbeat, TermWithoutADeadRankHasNothingToSay) {
  Job job;
  run_as_threads(2, [&](Communicator& communicator) {
    Heartbeat heartbeat(communicator, job.setting(communicator.rank()));
    communicator.barrier();
    EXPECT_EQ(std::async(std::launch::async, [&] { return heartbeat.on_term(); }).get(), "");
    EXPECT_NE(events_of(communicator.rank()).find("ended by TERM"), std::string::npos);
  });
}

}  // namespace
}  // namespace reprise
