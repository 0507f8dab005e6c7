#include "launcher/stop_request.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace reprise {
namespace {

// Signals of the kernel arrive in their own time.
bool is_made_soon(StopRequest& stop) {
  for (int wait = 0; wait < 2000 && !stop.is_made(0); ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return stop.is_made(0);
}

TEST(StopRequest, IsMadeByEitherSignalAndStays) {
  for (const int number : {SIGUSR1, SIGUSR2}) {
    StopRequest stop(0);
    EXPECT_FALSE(stop.is_made(1e9));
    for (int again = 0; again < 2; ++again) {
      kill(getpid(), number);
      EXPECT_TRUE(is_made_soon(stop));
    }
  }
}

TEST(StopRequest, IsMadeInTimeForTheSaveAndOneMoreStep) {
  StopRequest stop(1000);
  EXPECT_FALSE(stop.is_made(500));
  EXPECT_TRUE(stop.is_made(1000.5));
  StopRequest steps(1000);
  EXPECT_FALSE(steps.is_made(0));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(steps.is_made(900));
  EXPECT_TRUE(steps.is_made(999.91));  // 50 ms are gone at least, and the next step may take as long
}

TEST(StopRequest, TermEndsTheProcessAtOnce) {
  const auto wait_for_it = [] {
    const StopRequest stop(0);
    kill(getpid(), SIGTERM);
    std::this_thread::sleep_for(std::chrono::seconds(60));
  };
  EXPECT_EXIT(wait_for_it(), testing::ExitedWithCode(143), "^reprise: TERM: ends at once and saves nothing.*\n$");
}

}  // namespace
}  // namespace reprise
