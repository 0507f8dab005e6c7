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
  EXPECT_NE(load_error().find(first.name + " is missing; stranger is unexpected"), std::string::npos) << load_error();
  tensors.front() = {first.name, torch::zeros({3, 5})};
  save(tensors);
  EXPECT_NE(load_error().find("got Float of shape 3x5"), std::string::npos) << load_error();
  tensors.pop_back();
  save(tensors);
  EXPECT_NE(load_error().find(" is missing"), std::string::npos) << load_error();
  fs::remove_all(folder_ / "final");
  EXPECT_NE(load_error().find("expected a run with final/model.safetensors"), std::string::npos) << load_error();
}

}  // namespace
}  // namespace reprise
