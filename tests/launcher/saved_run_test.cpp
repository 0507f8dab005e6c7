#include "launcher/saved_run.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/scratch.h"
#include "training/errors.h"
#include "training/safetensors.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

constexpr const char* kYaml = R"(model: {layers: 2, width: 32, heads: 2, context: 8, vocabulary: 257, dropout: 0.1}
data: {directory: nowhere}
)";

class SavedRunTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "final");
    put(folder_ / "config.yaml", kYaml);
    model_ = std::make_unique<StageChain>(load_config(folder_ / "config.yaml", {}, false).model);
    weights_ = std::make_unique<FlatModel>(*model_, false);
    model_->parameters().initialize(5);
    weights_->parameters.mul_(3);  // away from uniform predictions
    save(named_tensors());
  }

  std::vector<NamedTensor> named_tensors() const {
    std::vector<NamedTensor> tensors;
    for (int i = 0; i < model_->parameters().size(); ++i) {
      tensors.push_back({model_->parameters()[i].name, model_->parameters()[i].value.detach()});
    }
    return tensors;
  }
  void save(const std::vector<NamedTensor>& tensors) const {
    write_safetensors(folder_ / "final/model.safetensors", tensors, {{"tokenizer", "bytes"}});
  }
  TokenShards split(const std::vector<uint16_t>& tokens) const {
    ShardWriter writer(folder_.path(), "validation");
    writer.write(tokens);
    writer.finish();
    return TokenShards(folder_.path(), "validation");
  }
  std::string load_error() const {
    try {
      load_run(folder_.path());
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }

  const Scratch folder_;
  std::unique_ptr<FlatModel> weights_;
  std::unique_ptr<StageChain> model_;
};

TEST_F(SavedRunTest, GivesBackTheVeryWeights) {
  for (const char* path : {".", "final"}) {
    const SavedRun run = load_run(folder_ / path);
    EXPECT_EQ(weights_hash(*run.model), weights_hash(*model_));
    EXPECT_EQ(run.tokenizer, "bytes");
  }
}

TEST_F(SavedRunTest, RefusesWhatDoesNotBelongToTheModel) {
  std::vector<NamedTensor> tensors = named_tensors();
  const NamedTensor first = tensors.front();
  tensors.front().name = "stranger";
  save(tensors);
  EXPECT_NE(load_error().find("the tensor " + first.name + " is missing"), std::string::npos) << load_error();
  tensors.front() = {first.name, torch::zeros({3, 5})};
  save(tensors);
  EXPECT_NE(load_error().find("got Float of shape 3x5"), std::string::npos) << load_error();
  tensors.pop_back();
  save(tensors);
  EXPECT_NE(load_error().find("tensors, got "), std::string::npos) << load_error();
  fs::remove_all(folder_ / "final");
  EXPECT_NE(load_error().find("expected a run with final/model.safetensors"), std::string::npos) << load_error();
}

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

TEST_F(SavedRunTest, EveryTargetCountsOnce) {
  std::vector<uint16_t> tokens;
  for (uint16_t i = 0; i < 21; ++i) tokens.push_back(static_cast<uint16_t>(i * 37 % 256));
  tokens[7] = 256;  // an end of document: a target without bytes
  SavedRun run = load_run(folder_.path());
  for (int64_t context : {8, 5, 1}) {
    const EvaluationTotals totals = evaluate(run, split(tokens), context);
    EXPECT_EQ(totals.tokens, 20);
    EXPECT_EQ(totals.bytes, 19);
    const double expected = loss_by_hand(*model_, tokens, static_cast<size_t>(context));
    EXPECT_NEAR(totals.loss, expected, 1e-4 * expected) << context;
    EXPECT_NEAR(totals.bits_per_byte(), expected / std::log(2.0) / 19, 1e-3);
  }
}

TEST_F(SavedRunTest, UnknownTokensNameFileAndPlace) {
  SavedRun run = load_run(folder_.path());
  try {
    evaluate(run, split({1, 2, 300, 4}), 8);
    ADD_FAILURE() << "accepted";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("validation_000000.bin: token 2 is 300"), std::string::npos)
        << error.what();
  }
}

TEST_F(SavedRunTest, SamplesAreAFunctionOfTheSeed) {
  const SavedRun run = load_run(folder_.path());
  const auto draw = [&](uint64_t seed, double temperature) {
    Sampler sampler(*run.model, {65, 66}, temperature, seed);
    std::vector<int64_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler.next());
    return tokens;
  };
  EXPECT_EQ(draw(1, 1.0), draw(1, 1.0));
  EXPECT_NE(draw(1, 1.0), draw(2, 1.0));
  EXPECT_EQ(draw(1, 0), draw(2, 0));
}

TEST_F(SavedRunTest, TheWindowSlides) {
  const std::vector<int64_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::vector<int64_t> last(prompt.end() - 8, prompt.end());
  EXPECT_EQ(Sampler(*model_, prompt, 0, 1).next(), Sampler(*model_, last, 0, 1).next());
  const torch::Tensor logits = model_->next_token_logits(torch::tensor(last, torch::kInt64).unsqueeze(0))[0];
  EXPECT_EQ(Sampler(*model_, prompt, 0, 1).next(), logits.argmax().item<int64_t>());
}

TEST_F(SavedRunTest, DrawsFollowTheDistribution) {
  const torch::Tensor logits =
      model_->next_token_logits(torch::tensor(std::vector<int64_t>{65}, torch::kInt64).unsqueeze(0))[0];
  const torch::Tensor expected = torch::softmax(logits.to(torch::kFloat64) / 0.5, 0);
  const int64_t likeliest = expected.argmax().item<int64_t>();
  int hits = 0;
  constexpr int kDraws = 2000;
  for (uint64_t seed = 0; seed < kDraws; ++seed) hits += Sampler(*model_, {65}, 0.5, seed).next() == likeliest;
  const double p = expected[likeliest].item<double>();
  EXPECT_NEAR(hits / double{kDraws}, p, 5 * std::sqrt(p * (1 - p) / kDraws));
}

}  // namespace
}  // namespace reprise
