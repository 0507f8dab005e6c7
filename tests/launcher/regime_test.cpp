#include "launcher/regime.h"

#include <gtest/gtest.h>

#include "tests/checkpointing/four_layers.h"

namespace reprise {
namespace {

TEST(Regime, SaysWhichIsTheBottleneck) {
  CostTable costs = four_layers();
  EXPECT_EQ(regime_of(costs, keep_but({})),
            "the wire is the bottleneck: the first 3 of 4 layers could recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0})), "the wire is the bottleneck: the first 1 of 4 layers recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0, 1})), "compute is the bottleneck: recomputing takes 11.8 % of the step");
  costs.wire->bytes_per_second = 1e8;
  EXPECT_EQ(regime_of(costs, keep_but({1})),
            "the wire is the bottleneck: 1 of the first 3 of 4 layers recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0, 1, 2, 3})),
            "the wire is the bottleneck: the first 3 of 4 layers recompute for free");
  costs.buckets = {{0, costs.size() - 1, 1 << 30}};
  EXPECT_EQ(regime_of(costs, keep_but({})), "the wire is the bottleneck: no whole layer is hidden behind it");
  costs.wire.reset();
  EXPECT_EQ(regime_of(costs, keep_but({})), "compute is the bottleneck: recomputing takes 0.0 % of the step");
}

}  // namespace
}  // namespace reprise
