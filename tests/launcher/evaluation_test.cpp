#include "launcher/evaluation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "distributed/ring_communicator.h"
#include "launcher/exit_codes.h"
#include "tests/distributed/threads_communicator.h"
#include "tests/scratch.h"
#include "training/dataset.h"

namespace reprise {
namespace {

std::unique_ptr<SavedRun> small_run() {
  auto run = std::make_unique<SavedRun>();
  run->config.model = {.layers = 2, .width = 32, .heads = 2, .context = 8, .dropout = 0.1};
  run->tokenizer = "bytes";
  run->model = std::make_unique<StageChain>(run->config.model);
  run->weights = std::make_unique<FlatModel>(*run->model, false);
  run->model->parameters().initialize(5);
  run->weights->parameters.mul_(3);  // away from uniform predictions
  return run;
}

std::vector<uint16_t> some_tokens(int count) {
  std::vector<uint16_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<uint16_t>(i * i * 37 % 256));
  return tokens;
}

class Evaluation : public testing::Test {
 protected:
  TokenShards split(const std::vector<uint16_t>& tokens, int64_t most_in_shard = 100'000) const {
    ShardWriter writer(folder_.path(), "validation", 257, most_in_shard);
    writer.write(std::vector<uint32_t>(tokens.begin(), tokens.end()));
    writer.finish();
    return TokenShards(folder_.path(), "validation");
  }

  const Scratch folder_;
  const std::unique_ptr<SavedRun> run_ = small_run();
};

// Position by position, each from the tokens before it in its window.
double loss_by_hand(const StageChain& model, const std::vector<uint16_t>& tokens, size_t context) {
  double loss = 0;
  for (size_t target = 1; target < tokens.size(); ++target) {
    const size_t start = (target - 1) / context * context;
    const std::vector<int64_t> window(tokens.begin() + static_cast<ptrdiff_t>(start),
                                      tokens.begin() + static_cast<ptrdiff_t>(target));
    const torch::Tensor logits = model.next_token_logits(torch::tensor(window, torch::kInt64).unsqueeze(0))[0];
    loss -= torch::log_softmax(logits.to(torch::kFloat64), 0)[tokens[target]].item<double>();
  }
  return loss;
}

TEST_F(Evaluation, EveryTargetCountsOnce) {
  std::vector<uint16_t> tokens = some_tokens(21);
  tokens[7] = 256;  // an end of document: a target without bytes
  for (const int64_t context : {8, 5, 1}) {
    const EvaluationTotals totals = evaluate(*run_, split(tokens), context, *make_lone_communicator());
    EXPECT_EQ(totals.tokens, 20);
    EXPECT_EQ(totals.bytes, 19);
    const double expected = loss_by_hand(*run_->model, tokens, static_cast<size_t>(context));
    EXPECT_NEAR(totals.loss, expected, 1e-4 * expected) << context;
    EXPECT_NEAR(totals.bits_per_byte(), expected / std::log(2.0) / 19, 1e-3);
  }
}

// Shards of 9,000, 9,000 and 2,003 tokens make eight batches: more than a round of any of these groups, and uneven.
TEST_F(Evaluation, AnyNumberOfRanksGivesTheSameBits) {
  const TokenShards shards = split(some_tokens(20003), 9000);
  const EvaluationTotals alone = evaluate(*run_, shards, 8, *make_lone_communicator());
  EXPECT_EQ(alone.tokens, 20000);
  for (const int size : {2, 3, 5, 7}) {
    run_as_threads(size, [&](Communicator& ranks) {
      const EvaluationTotals shared = evaluate(*small_run(), shards, 8, ranks);
      EXPECT_EQ(shared.loss, alone.loss) << size;
      EXPECT_EQ(shared.tokens, alone.tokens);
      EXPECT_EQ(shared.bytes, alone.bytes);
    });
  }
}

TEST_F(Evaluation, MoreRanksThanBatches) {
  const TokenShards shards = split(some_tokens(12));
  const double alone = evaluate(*run_, shards, 8, *make_lone_communicator()).loss;
  run_as_threads(4, [&](Communicator& ranks) { EXPECT_EQ(evaluate(*small_run(), shards, 8, ranks).loss, alone); });
}

// Token 6000 lies in the second rank's batch: both ranks end with its message.
TEST_F(Evaluation, UnknownTokensNameFileAndPlaceOnEveryRank) {
  std::vector<uint16_t> tokens = some_tokens(12000);
  tokens[6000] = 300;
  const TokenShards shards = split(tokens);
  for (const int size : {1, 2}) {
    run_as_threads(size, [&](Communicator& ranks) {
      try {
        evaluate(*small_run(), shards, 8, ranks);
        ADD_FAILURE() << "accepted";
      } catch (const SharedFailure& failure) {
        EXPECT_EQ(failure.code, kBadInput);
        const std::string message = failure.what();
        EXPECT_NE(message.find("validation_000000.bin: token 6000 is 300"), std::string::npos) << message;
        EXPECT_EQ(message.starts_with("rank 1 on "), size == 2) << message;
      }
    });
  }
}

}  // namespace
}  // namespace reprise
