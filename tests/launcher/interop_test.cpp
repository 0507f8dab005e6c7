// Models from and to Hugging Face's form, through the commands, against logits that transformers gave
// (tests/program/hugging_face_models.py). REPRISE_LOGITS: a folder with more models of that kind to compare.
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "distributed/ring_communicator.h"
#include "launcher/evaluation.h"
#include "launcher/exit_codes.h"
#include "launcher/program.h"
#include "launcher/saved_run.h"
#include "tests/scratch.h"
#include "tests/training/tokenizers.h"
#include "training/errors.h"
#include "training/hugging_face.h"
#include "training/safetensors.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 2e-5;  // fp32 sums in another order

int run_command(Command (*add)(CLI::App&), const std::string& name, const std::string& from, const std::string& to) {
  CLI::App app;
  const Command command = add(app);
  app.parse(std::vector<std::string>{to, "--to", from, name});  // CLI11 takes them from the back
  return command.run();
}
int import_model(const std::string& from, const std::string& to) { return run_command(add_import, "import", from, to); }
int export_model(const std::string& from, const std::string& to) { return run_command(add_export, "export", from, to); }

// Largest difference between the logits of a run and those in expected.safetensors.
double difference(const std::string& run_path, const std::string& expected_path) {
  const SavedRun run = load_run(run_path);
  const SafetensorsFile expected = read_safetensors(expected_path);
  const torch::Tensor& tokens = expected.tensors.at("tokens");  // (B, T)
  const torch::Tensor& logits = expected.tensors.at("logits");  // (B, T, V)
  double largest = 0;
  for (int64_t t = 0; t < tokens.size(1); ++t) {
    const torch::Tensor ours = run.model->next_token_logits(tokens.narrow(1, 0, t + 1).to(run.model->device()));
    largest = std::max(largest, (ours.cpu() - logits.select(1, t)).abs().max().item<double>());
  }
  return largest;
}

std::vector<fs::path> models_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

std::vector<fs::path> fixtures() {
  const char* source = std::getenv("REPRISE_SOURCE");
  return models_in(fs::path(source ? source : ".") / "tests/launcher/hugging_face");
}

TEST(Interop, ImportsGiveTheLogitsOfTransformers) {
  std::vector<fs::path> models = fixtures();
  ASSERT_EQ(models.size(), 2u);
  if (const char* more = std::getenv("REPRISE_LOGITS")) {
    const std::vector<fs::path> given = models_in(more);
    ASSERT_FALSE(given.empty());
    models.insert(models.end(), given.begin(), given.end());
  }
  const Scratch scratch;
  for (const fs::path& model : models) {
    std::string run = model.string();
    if (fs::exists(model / "config.json")) {
      run = scratch / model.filename();
      ASSERT_EQ(import_model(model, run), kDone);
    }
    const double largest = difference(run, model / "expected.safetensors");
    EXPECT_LE(largest, kTolerance) << model;
    RecordProperty(model.filename().string(), std::to_string(largest));
    std::printf("%s: largest difference of logits %.2g\n", model.filename().c_str(), largest);
  }
}

TEST(Interop, ExportsAreTheImportedTensorsAndImportAgain) {
  const Scratch scratch;
  for (const fs::path& model : fixtures()) {
    SCOPED_TRACE(model);
    const std::string name = model.filename();
    import_model(model, scratch / name);
    ASSERT_EQ(export_model(scratch / name, scratch / (name + "-out")), kDone);
    const fs::path index = model / "model.safetensors.index.json";
    const auto theirs = read_safetensors(fs::exists(index) ? index : model / "model.safetensors").tensors;
    const auto ours = read_safetensors(scratch / (name + "-out/model.safetensors"));
    EXPECT_EQ(ours.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
    ASSERT_EQ(ours.tensors.size(), theirs.size());
    for (const auto& [key, tensor] : theirs) {
      EXPECT_TRUE(ours.tensors.at(key).equal(tensor.to(torch::kFloat32))) << key;
    }
    const auto before = nlohmann::json::parse(contents(model / "config.json"));
    const auto after = nlohmann::json::parse(contents(scratch / (name + "-out/config.json")));
    for (const char* key : {"architectures", "model_type", "vocab_size", "n_embd", "n_layer", "n_head", "n_positions",
                            "hidden_size", "num_key_value_heads", "head_dim", "rope_parameters", "rms_norm_eps"}) {
      const nlohmann::json nothing;
      EXPECT_EQ(before.value(key, nothing), after.value(key, nothing)) << key;
    }
    import_model(scratch / (name + "-out"), scratch / (name + "-again"));
    EXPECT_EQ(weights_hash(*load_run(scratch / name).model),
              weights_hash(*load_run(scratch / (name + "-again")).model));
  }
}

TEST(Interop, ATokenizerGoesAlongAndItsAbsenceIsSaid) {
  const Scratch scratch;
  fs::copy(fixtures().front(), scratch / "model");
  import_model(scratch / "model", scratch / "plain");
  export_model(scratch / "plain", scratch / "plain-back");
  EXPECT_EQ(load_run(scratch / "plain").tokenizer, "none");
  EXPECT_FALSE(fs::exists(scratch / "plain-back/tokenizer.json"));

  const std::string given = contents(fixture("gpt2.json"));
  put(scratch / "model/tokenizer.json", given);
  import_model(scratch / "model", scratch / "run");
  export_model(scratch / "run", scratch / "back");
  EXPECT_EQ(load_run(scratch / "run").tokenizer, scratch / "run/tokenizer.json");
  EXPECT_EQ(contents(scratch / "back/tokenizer.json"), given);
  EXPECT_EQ(nlohmann::json::parse(contents(scratch / "back/config.json"))["eos_token_id"],
            Tokenizer(fixture("gpt2.json")).end_of_document());

  put(scratch / "model/tokenizer.json", R"({"model": {"type": "Unigram"}})");  // of a kind that is not read
  testing::internal::CaptureStderr();
  import_model(scratch / "model", scratch / "other");
  EXPECT_TRUE(has(testing::internal::GetCapturedStderr(), "the tokenizer stays behind: "));
  EXPECT_EQ(load_run(scratch / "other").tokenizer, "none");
}

TEST(Interop, EvaluationNeedsNoTokenizer) {
  const Scratch scratch;
  import_model(fixtures().front(), scratch / "run");
  ShardWriter writer(scratch.path(), "validation", 11);
  writer.write(std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  writer.finish();
  const SavedRun run = load_run(scratch / "run");
  const EvaluationTotals totals =
      evaluate(run, TokenShards(scratch.path(), "validation"), 4, *make_lone_communicator());
  EXPECT_EQ(totals.tokens, 9);
  EXPECT_EQ(totals.bytes, 0);
  EXPECT_TRUE(std::isnan(totals.bits_per_byte()));
}

TEST(Interop, LeavesWhatExistsAloneAndNothingBehind) {
  const Scratch scratch;
  fs::create_directory(scratch / "there");
  EXPECT_THROW(import_model(fixtures().front(), scratch / "there"), UsageError);
  EXPECT_THROW(import_model(scratch / "nowhere", scratch / "run"), DataError);
  put(scratch / "file", "");
  EXPECT_THROW(import_model(fixtures().front(), scratch / "file/run"), fs::filesystem_error);
  fs::copy(fixtures().front(), scratch / "narrow");
  auto config = nlohmann::json::parse(contents(scratch / "narrow/config.json"));
  config["vocab_size"] = 1;  // which no setting of ours can be
  put(scratch / "narrow/config.json", config.dump());
  auto tensors = read_safetensors(scratch / "narrow/model.safetensors").tensors;
  std::vector<NamedTensor> cut;
  for (const auto& [name, tensor] : tensors) {
    cut.push_back({name, name == "transformer.wte.weight" ? tensor.narrow(0, 0, 1).clone() : tensor});
  }
  write_safetensors(scratch / "narrow/model.safetensors", cut, {});
  EXPECT_TRUE(has(message_of<ConfigError>([&] { import_model(scratch / "narrow", scratch / "run"); }),
                  "model.vocabulary: expected an integer"));
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"file", "narrow", "there"}));
  EXPECT_TRUE(fs::is_empty(scratch / "there"));
}

}  // namespace
}  // namespace reprise
