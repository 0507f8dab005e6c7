#include "distributed/pulse.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace reprise {
namespace {

TEST(Pulse, StandsWhereItWasToldAndKeepsTheLastEvents) {
  Pulse pulse;
  EXPECT_TRUE(pulse.events().empty());
  for (uint64_t n = 0; n < 2500; ++n) pulse.move_to(n);
  const Standing standing = pulse.standing();
  EXPECT_EQ(standing.position, 2499U);
  EXPECT_EQ(standing.events, 2500U);
  const std::vector<PulseEvent> events = pulse.events();
  ASSERT_EQ(events.size(), Pulse::kEvents);
  EXPECT_EQ(events.front().detail, 500U);
  EXPECT_EQ(events.back().detail, 2499U);
  EXPECT_LE(events.front().seconds, events.back().seconds);
}

TEST(Pulse, WaitsAreMarkedForAsLongAsTheyLast) {
  Pulse pulse;
  {
    const PulseWait waiting(pulse);
    EXPECT_TRUE(pulse.standing().is_waiting);
  }
  EXPECT_FALSE(pulse.standing().is_waiting);
  EXPECT_EQ(pulse.standing().events, 2U);
}

TEST(Pulse, CallsTellKindPlaceSizeTypeAndTurnApart) {
  const torch::Tensor flat = torch::zeros({400});
  std::set<int> tags;
  const auto tag_of = [&](const Call& call, int earlier_calls) {
    Pulse pulse;
    for (int n = 0; n < earlier_calls; ++n) pulse.begin_call({});
    return pulse.begin_call(call);
  };
  const Call call = call_of(Call::sum, flat.narrow(0, 0, 200));
  for (const Call& other :
       {call, call_of(Call::sum, flat.narrow(0, 200, 200)), call_of(Call::sum, flat.narrow(0, 0, 100)),
        call_of(Call::sum, torch::zeros({200}, torch::kInt32)), call_of(Call::broadcast, flat.narrow(0, 0, 200), 0),
        call_of(Call::broadcast, flat.narrow(0, 0, 200), 1), call_of(Call::barrier, flat.narrow(0, 0, 200))}) {
    tags.insert(tag_of(other, 0));
  }
  tags.insert(tag_of(call, 1));
  EXPECT_EQ(tags.size(), 8U);
  EXPECT_LT(*tags.rbegin(), 1 << 15);
  EXPECT_GE(*tags.begin(), 0);
  EXPECT_EQ(tag_of(call, 3), tag_of(call_of(Call::sum, torch::ones({400}).narrow(0, 0, 200)), 3));
  EXPECT_EQ(text_of(call_of(Call::sum, flat.narrow(0, 200, 100))),
            "an all-reduce of 400 bytes of Float at element 200");
  EXPECT_EQ(text_of(call_of(Call::broadcast, flat, 3)), "a broadcast of 1600 bytes of Float from rank 3");
  EXPECT_EQ(text_of(call_of(Call::barrier, flat)), "a barrier");
}

TEST(Pulse, AnotherThreadNeverReadsATornCall) {
  Pulse pulse;
  std::jthread writer([&](const std::stop_token& stop) {
    for (uint64_t n = 0; !stop.stop_requested(); ++n) pulse.begin_call({n, n << 3});
  });
  for (int look = 0; look < 20000; ++look) {
    const Standing standing = pulse.standing();
    for (uint64_t n = standing.calls - std::min<uint64_t>(standing.calls, Standing::kCalls); n < standing.calls; ++n) {
      if (const Call* call = standing.call(n)) {
        ASSERT_EQ(*call, (Call{n, n << 3}));
      }
    }
    std::this_thread::yield();
  }
  writer.request_stop();
  writer.join();
  const Standing last = pulse.standing();
  EXPECT_EQ(*last.call(last.calls - 1), (Call{last.calls - 1, (last.calls - 1) << 3}));
}

}  // namespace
}  // namespace reprise
