// Spikes and non-finite gradients: which steps make no update, and when that ends the run.
#include "training/skip_policy.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/distributed/threads_communicator.h"
#include "tests/training/tiny_trainer.h"
#include "training/errors.h"

namespace reprise {
namespace {

constexpr double kNone = std::numeric_limits<float>::max();

StepReport updated(int64_t step, double norm) { return {.step = step, .grad_norm = norm}; }
StepReport skipped(int64_t step, const std::string& reason) {
  return {.step = step, .grad_norm = 50, .samples = {8, 15}, .skipped = true, .skip_reason = reason};
}

TEST(SkipPolicy, TheLimitIsSoManyMediansOfTheLastUpdatesOnceThereAreEnough) {
  SkipPolicy policy({.on_spike = OnSpike::skip, .spike_factor = 3});
  int64_t step = 0;
  for (; step < SkipPolicy::kFewestUpdates; ++step) {
    EXPECT_EQ(policy.norm_limit(), kNone) << step;
    policy.note(updated(step, 2));
  }
  EXPECT_EQ(policy.norm_limit(), 6);
  for (int i = 0; i < 2 * SkipPolicy::kFewestUpdates; ++i) policy.note(skipped(++step, "spike"));
  EXPECT_EQ(policy.norm_limit(), 6);
  for (int i = 0; i < SkipPolicy::kWindow; ++i) policy.note(updated(++step, 4));  // the old norms are forgotten
  EXPECT_EQ(policy.norm_limit(), 12);
  EXPECT_EQ(std::ssize(policy.memory().norms), SkipPolicy::kWindow);
}

TEST(SkipPolicy, OffHasNoLimitAndNoLimitLetsAnInfiniteNormPass) {
  SkipPolicy off({}), large({.on_spike = OnSpike::skip, .spike_factor = 1e30});
  for (int64_t step = 0; step < 30; ++step) {
    off.note(updated(step, 1e30));
    large.note(updated(step, 1e30));
  }
  EXPECT_EQ(off.norm_limit(), kNone);
  EXPECT_EQ(large.norm_limit(), kNone);
}

TEST(SkipPolicy, EachKindOfTroubleObeysItsOwnKey) {
  SkipPolicy policy({.on_non_finite = NonFinite::stop, .on_spike = OnSpike::skip});
  EXPECT_TRUE(policy.must_stop(skipped(1, "non_finite")));
  EXPECT_FALSE(policy.must_stop(skipped(1, "spike")));
  EXPECT_FALSE(policy.must_stop(skipped(1, "overflow")));
  EXPECT_FALSE(policy.must_stop(updated(1, 1)));
  SkipPolicy other({.on_non_finite = NonFinite::skip, .on_spike = OnSpike::stop});
  EXPECT_FALSE(other.must_stop(skipped(1, "non_finite")));
  EXPECT_TRUE(other.must_stop(skipped(1, "spike")));
}

TEST(SkipPolicy, MoreThanTheLimitOfTheLastHundredStepsStops) {
  SkipPolicy policy({.on_non_finite = NonFinite::skip, .on_spike = OnSpike::skip, .skip_limit = 2});
  const auto stops_at = [&](int64_t step, const std::string& reason) {
    policy.note(skipped(step, reason));
    return policy.must_stop(skipped(step, reason));
  };
  EXPECT_FALSE(stops_at(1, "spike"));
  for (int64_t step = 2; step < 50; ++step) EXPECT_FALSE(stops_at(step, "overflow"));
  EXPECT_FALSE(stops_at(50, "non_finite"));
  EXPECT_FALSE(stops_at(101, "spike"));  // step 1 is forgotten
  EXPECT_TRUE(stops_at(149, "spike"));
  const std::string message = policy.describe(skipped(149, "spike"));
  EXPECT_TRUE(message.starts_with("step 149: the gradient norm 50 is over 10 times the median")) << message;
  EXPECT_NE(message.find("3 of the last 100 steps were skipped, more than optimizer.skip_limit; samples 8 to 15"),
            std::string::npos)
      << message;
}

TEST(SkipPolicy, MessagesNameTheKeyThatGoesOnAndTheWayToALowerLearningRate) {
  const SkipPolicy policy({});
  EXPECT_NE(policy.describe(skipped(3, "non_finite")).find("set optimizer.on_non_finite: skip;"), std::string::npos);
  EXPECT_NE(policy.describe(skipped(3, "spike")).find("set optimizer.on_spike: skip;"), std::string::npos);
  EXPECT_NE(policy.describe(skipped(3, "spike")).find("needs a new run.name, with run.init="), std::string::npos);
  EXPECT_NE(policy.describe(skipped(3, "spike")).find("the weights are those of step 2"), std::string::npos);
}

// ---- in a training ----

constexpr int64_t kSpike = 25;  // the step that meets one

TrainerSetting skipping(int ranks, double factor) {
  TrainerSetting setting = TinyTrainer::setting(ranks);
  setting.global_sequences = 4;
  setting.skips = {
      .on_non_finite = NonFinite::skip, .on_spike = OnSpike::skip, .spike_factor = factor, .skip_limit = 100};
  return setting;
}

struct Outcome {
  std::vector<int64_t> skipped;
  torch::Tensor parameters;
};

// `steps` steps; at kSpike the weights are for one forward and backward 30 times as large.
Outcome with_spike(int ranks, const std::string& policy, const TrainerSetting& setting, int64_t steps = 40) {
  Outcome outcome;
  run_as_threads(ranks, [&](Communicator& communicator) {
    TinyTrainer tiny(communicator, setting, policy);
    std::vector<int64_t> seen;
    for (int64_t step = 1; step <= steps; ++step) {
      const torch::Tensor before = tiny.flat.parameters.clone();
      if (step == kSpike) tiny.flat.parameters.mul_(30);
      const torch::Tensor given = tiny.flat.parameters.clone();
      const std::vector<FlatState> states = tiny.trainer->states();
      const torch::Tensor first = states[1].flat.clone(), second = states[2].flat.clone();
      const StepReport report = tiny.step();
      EXPECT_EQ(report.loss_scale, setting.precision.scales_loss ? LossScaler::kFirstScale : 1);
      if (!report.skipped) continue;
      seen.push_back(report.step);
      EXPECT_EQ(report.skip_reason, "spike");
      EXPECT_EQ(report.samples, (std::array<int64_t, 2>{4 * (step - 1), 4 * step - 1}));
      EXPECT_TRUE(torch::equal(tiny.flat.parameters, given));
      EXPECT_TRUE(torch::equal(states[1].flat, first));
      EXPECT_TRUE(torch::equal(states[2].flat, second));
      tiny.flat.parameters.copy_(before);
    }
    EXPECT_EQ(tiny.trainer->progress().updates, static_cast<double>(steps - std::ssize(seen)));
    if (communicator.rank() == 0) outcome = {seen, tiny.flat.parameters};
  });
  return outcome;
}

TEST(SkippedSteps, AnInjectedSpikeIsSkippedAndNothingElse) {
  for (int ranks : {1, 2}) {
    EXPECT_EQ(with_spike(ranks, "none", skipping(ranks, 8)).skipped, std::vector<int64_t>{kSpike});
  }
}

TEST(SkippedSteps, ASpikeIsNoOverflowOfAScaledLoss) {
  TrainerSetting setting = skipping(1, 8);
  setting.precision.scales_loss = true;
  EXPECT_EQ(with_spike(1, "none", setting).skipped, std::vector<int64_t>{kSpike});
}

// So near the median that many steps are skipped: every comparison is a close one.
TEST(SkippedSteps, AreTheSameForEveryPlanAndNumberOfRanks) {
  for (int ranks : {1, 2}) {
    const Outcome kept = with_spike(ranks, "none", skipping(ranks, 1.02), 80);
    EXPECT_GT(kept.skipped.size(), 5u);
    const Outcome replayed = with_spike(ranks, "full", skipping(ranks, 1.02), 80);
    EXPECT_EQ(replayed.skipped, kept.skipped);
    EXPECT_TRUE(torch::equal(replayed.parameters, kept.parameters));
  }
  EXPECT_EQ(with_spike(1, "none", skipping(1, 8)).skipped, with_spike(2, "full", skipping(2, 8)).skipped);
}

TEST(SkippedSteps, AreTheSameInAResumedRun) {
  run_as_threads(2, [](Communicator& communicator) {
    constexpr int64_t kSteps = 80;
    TinyTrainer whole(communicator, skipping(2, 1.02));
    std::vector<bool> seen;
    for (int64_t step = 0; step < kSteps; ++step) seen.push_back(whole.step().skipped);
    for (const int64_t stopped : {10, 23, 55}) {
      TinyTrainer before(communicator, skipping(2, 1.02)), after(communicator, skipping(2, 1.02));
      for (int64_t step = 0; step < stopped; ++step) before.step();
      const std::string manifest = format_manifest({.progress = before.trainer->progress()});
      for (size_t i = 0; i < 3; ++i) after.trainer->states()[i].flat.copy_(before.trainer->states()[i].flat);
      after.trainer->resume(parse_manifest(manifest).progress);
      for (int64_t step = stopped; step < kSteps; ++step) {
        ASSERT_EQ(after.step().skipped, seen[static_cast<size_t>(step)]) << stopped << ' ' << step;
      }
      EXPECT_TRUE(torch::equal(after.flat.parameters, whole.flat.parameters)) << stopped;
    }
  });
}

TEST(SkippedSteps, StopMakesNoUpdateEither) {
  run_as_threads(1, [](Communicator& communicator) {
    TrainerSetting setting = skipping(1, 8);
    setting.skips.on_spike = OnSpike::stop;
    TinyTrainer tiny(communicator, setting);
    while (tiny.trainer->steps_done() < 30) tiny.step();
    tiny.flat.parameters.mul_(30);
    const torch::Tensor before = tiny.flat.parameters.clone();
    EXPECT_THROW(tiny.step(), TrainingStopped);
    EXPECT_TRUE(torch::equal(tiny.flat.parameters, before));
  });
}

TEST(SkippedSteps, TooManyInARowStop) {
  run_as_threads(2, [](Communicator& communicator) {
    TrainerSetting setting = skipping(2, 8);
    setting.skips.skip_limit = 3;
    TinyTrainer tiny(communicator, setting);
    tiny.step();
    tiny.flat.parameters.fill_(std::numeric_limits<float>::infinity());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(tiny.step().skip_reason, "non_finite");
    EXPECT_THROW(tiny.step(), TrainingStopped);
  });
}

}  // namespace
}  // namespace reprise
