#include "launcher/stop_request.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <thread>

namespace reprise {
namespace {

// Signals of the kernel arrive in their own time.
bool is_made_soon(StopRequest& stop) {
  for (int wait = 0; wait < 2000 && !stop.is_made(0, 0); ++wait)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return stop.is_made(0, 0);
}

// A signal that no StopRequest took stays pending: the next one would take it for its own.
void drop_pending(int number) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, number);
  const timespec at_once{};
  sigtimedwait(&signals, nullptr, &at_once);
}

TEST(StopRequest, IsMadeByEitherSignalAndStays) {
  for (const int number : {SIGUSR1, SIGUSR2}) {
    {
      StopRequest stop;
      EXPECT_FALSE(stop.is_made(0, 1e9));
      for (int again = 0; again < 2; ++again) {
        kill(getpid(), number);
        EXPECT_TRUE(is_made_soon(stop));
      }
    }
    drop_pending(number);
  }
}

TEST(StopRequest, IsMadeInTimeForTheSaveAndOneMoreStep) {
  double now = 5;
  StopRequest stop([&now] { return now; });
  EXPECT_FALSE(stop.is_made(1000, 1000));
  EXPECT_TRUE(stop.is_made(1000, 1000.5));
  now += 50;
  EXPECT_FALSE(stop.is_made(1000, 900));  // 50 s are gone, and the next step may take as long
  EXPECT_TRUE(stop.is_made(1000, 900.5));
  now += 10;
  EXPECT_FALSE(stop.is_made(1000, 890));  // the longest step counts, not the last one
  EXPECT_TRUE(stop.is_made(1000, 890.5));
}

TEST(StopRequest, IsNeverMadeByTheClockWithoutALimit) {
  double now = 0;
  StopRequest stop([&now] { return now; });
  now = 1e9;
  EXPECT_FALSE(stop.is_made(0, 1e9));
}

TEST(StopRequest, TermEndsTheProcessAtOnce) {
  const auto wait_for_it = [] {
    const StopRequest stop;
    kill(getpid(), SIGTERM);
    std::this_thread::sleep_for(std::chrono::seconds(60));
  };
  EXPECT_EXIT(wait_for_it(), testing::ExitedWithCode(143), "^reprise: TERM: ends at once and saves nothing.*\n$");
}

}  // namespace
}  // namespace reprise
