// Silent trouble between ranks: a flipped bit is found in time and blamed on the right rank.
#include "training/replica_check.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/distributed/threads_communicator.h"
#include "tests/training/tiny_trainer.h"
#include "training/errors.h"

namespace reprise {
namespace {

constexpr int64_t kEvery = 4;

struct Flip {
  int rank = 0;
  int64_t step = 0;  // before this one
  int parameter = 0;
  int64_t element = 0;
  int bit = 0;
};

Flip random_flip(std::mt19937& generator, const ParameterTable& table, int ranks) {
  const auto below = [&](int64_t count) { return std::uniform_int_distribution<int64_t>(0, count - 1)(generator); };
  Flip flip{.rank = static_cast<int>(below(ranks)), .step = 2 + below(2 * kEvery)};
  flip.parameter = static_cast<int>(below(table.size()));
  flip.element = below(table[flip.parameter].numel());
  flip.bit = static_cast<int>(below(32));
  return flip;
}

// What one rank saw of a run in which a bit flips.
struct Sight {
  int64_t found_step = 0;  // 0: nothing was found
  std::string message;
  torch::Tensor parameters;
};

Sight watch_run(Communicator& communicator, const Flip& flip) {
  TrainerSetting setting = TinyTrainer::setting(communicator.size());
  setting.compare_every = kEvery;
  TinyTrainer tiny(communicator, setting);
  Sight sight;
  try {
    for (int64_t step = 1; step < flip.step + kEvery; ++step) {
      if (step == flip.step && communicator.rank() == flip.rank) {
        flip_bit(tiny.flat.layout.view(tiny.flat.parameters, flip.parameter), flip.element, flip.bit);
      }
      tiny.step();
    }
  } catch (const ReplicasDiverged& error) {
    sight.found_step = tiny.trainer->steps_done();
    sight.message = error.what();
  }
  sight.parameters = tiny.flat.parameters;
  return sight;
}

// A flip in the last bits may be rounded away by the next update: then the replicas are equal again and there is
// nothing to find.
TEST(ReplicaCheck, TwoHundredFlippedBitsAreFoundInTimeAndBlamedOnTheRightRank) {
  constexpr int kRanks = 3, kTrials = 200;
  std::mt19937 generator(7);
  const StageChain model(TinyTrainer::config());
  int healed = 0;
  for (int found = 0; found < kTrials && healed < kTrials / 10;) {
    const Flip flip = random_flip(generator, model.parameters(), kRanks);
    SCOPED_TRACE(::testing::Message() << "rank " << flip.rank << " step " << flip.step << " parameter "
                                      << model.parameters()[flip.parameter].name << " [" << flip.element << "] bit "
                                      << flip.bit);
    std::vector<Sight> seen(kRanks);
    run_as_threads(kRanks, [&](Communicator& communicator) {
      seen[static_cast<size_t>(communicator.rank())] = watch_run(communicator, flip);
    });
    if (seen[0].found_step == 0 && torch::equal(seen[0].parameters, seen[1].parameters) &&
        torch::equal(seen[0].parameters, seen[2].parameters)) {
      ++healed;
      continue;
    }
    const std::string odd = ": rank " + std::to_string(flip.rank) + " on ";
    for (const Sight& sight : seen) {
      ASSERT_GE(sight.found_step, flip.step);
      ASSERT_LT(sight.found_step, flip.step + kEvery);
      ASSERT_NE(sight.message.find(odd), std::string::npos) << sight.message;
      ASSERT_NE(sight.message.find("differs from the other ranks"), std::string::npos) << sight.message;
      ASSERT_EQ(sight.message, seen[0].message);
    }
    ++found;
  }
  EXPECT_LT(healed, kTrials / 10);
  std::cout << healed << " more flips were rounded away by the next update" << std::endl;
}

// Every state counts, padding too: what is saved is compared as it is.
TEST(ReplicaCheck, ABitOfAMomentIsFoundBeforeASave) {
  for (size_t state = 0; state < 3; ++state) {
    run_as_threads(3, [&](Communicator& communicator) {
      TinyTrainer tiny(communicator);
      tiny.step();
      EXPECT_NO_THROW(tiny.trainer->require_equal_replicas());
      const torch::Tensor flat = tiny.trainer->states()[state].flat;
      if (communicator.rank() == 2) flip_bit(flat, flat.numel() - 1, 0);
      EXPECT_THROW(tiny.trainer->require_equal_replicas(), ReplicasDiverged);
    });
  }
}

TEST(ReplicaCheck, OffMeansNever) {
  run_as_threads(2, [](Communicator& communicator) {
    TrainerSetting setting = TinyTrainer::setting(2);
    setting.compare_every = 0;
    TinyTrainer tiny(communicator, setting);
    if (communicator.rank() == 1) flip_bit(tiny.flat.parameters, 0, 3);
    EXPECT_NO_THROW(tiny.step());
    EXPECT_NO_THROW(tiny.trainer->require_equal_replicas());
  });
}

// The cause is named, not the symptom.
TEST(ReplicaCheck, AGradientThatABrokenReplicaMadeIsNotBlamedOnTheLearningRate) {
  run_as_threads(3, [](Communicator& communicator) {
    TinyTrainer tiny(communicator);  // compares every 100 steps
    tiny.step();
    if (communicator.rank() == 1) tiny.flat.parameters[0] = std::numeric_limits<float>::infinity();
    EXPECT_THROW(tiny.step(), ReplicasDiverged);
  });
}

std::string verdict(const std::vector<uint64_t>& hashes) {
  const auto group = make_threads_communicators(static_cast<int>(hashes.size()));
  const torch::Tensor halves = torch::empty({static_cast<int64_t>(hashes.size()), 2}, torch::kFloat64);
  for (int64_t rank = 0; rank < halves.size(0); ++rank) {
    const uint64_t hash = hashes[static_cast<size_t>(rank)];
    halves[rank][0] = static_cast<double>(hash >> 32);
    halves[rank][1] = static_cast<double>(hash & 0xffffffff);
  }
  return divergence(*group[0], 12, halves);
}

TEST(ReplicaCheck, TheMajorityIsRightAndWithoutOneAllAreNamed) {
  const uint64_t a = 0xffffffffffffffff, b = 0xfffffffffffffffe, c = 1;
  EXPECT_EQ(verdict({a}), "");
  EXPECT_EQ(verdict({a, a, a, a}), "");
  const std::string one = verdict({a, a, b});
  EXPECT_TRUE(one.starts_with("step 12: the ranks no longer hold the same weights and moments: rank 2 on ")) << one;
  EXPECT_NE(one.find("(fffffffffffffffe) differs from the other ranks (ffffffffffffffff)"), std::string::npos) << one;
  EXPECT_EQ(one.find("rank 0"), std::string::npos) << one;
  const std::string two = verdict({c, a, b, a, a});
  EXPECT_NE(two.find("rank 0 on "), std::string::npos) << two;
  EXPECT_NE(two.find(", rank 2 on "), std::string::npos) << two;
  EXPECT_EQ(two.find("rank 1 on "), std::string::npos) << two;
  for (const std::vector<uint64_t>& hashes : {std::vector{a, b}, {a, a, b, b}, {a, b, c}}) {
    const std::string none = verdict(hashes);
    EXPECT_NE(none.find("no majority tells which is right of rank 0 on "), std::string::npos) << none;
    EXPECT_NE(none.find(", rank 1 on "), std::string::npos) << none;
  }
}

}  // namespace
}  // namespace reprise
