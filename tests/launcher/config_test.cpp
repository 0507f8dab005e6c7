#include "launcher/config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "launcher/config_schema.h"
#include "tests/scratch.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

class ConfigTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    put(folder_ / name, text);
    return folder_ / name;
  }

  Config load(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    return load_config(write("tiny.yaml", text), overrides);
  }

  std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    try {
      load(text, overrides);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }

  const Scratch folder_;
};

constexpr const char* kData = "data: {directory: shards}\n";

struct Broken {
  const char* yaml;   // without data.directory, which is in line 1
  const char* start;  // of the message, after the folder: line and key
  const char* part;   // of the message
};

// Line 1 is kData.
const Broken kBroken[] = {
    {"modle: {layers: 4}", "2 modle: ", "did you mean model?"},
    {"model:\n  layer: 4", "3 model.layer: ", "did you mean model.layers?"},
    {"model.layers: 4", "2 model.layers: ", "unknown key"},
    {"run: {micro_sequences: 2}", "2 run.micro_sequences: ", "did you mean batch.micro_sequences?"},
    {"model: {colour: red}", "2 model.colour: ", "expected one of family, layers, width"},
    {"model: {layers: 4, layers: 4}", "2 model.layers: ", "expected each key once"},
    {"data: {directory: again}", "2 data: ", "first in line 1"},
    {"run: &a {seed: 1}", "2 run: ", "anchor"},
    {"run:\n  <<: {seed: 1}", "3 run.<<: ", "merge key"},
    {"model: 4", "2 model: ", "expected a map of keys, got 4"},
    {"model: [layers]", "2 model: ", "expected a map of keys, got a list"},
    {"model: {layers: four}", "2 model.layers: ", "expected an integer in 1 … 4096, got four"},
    {"model: {layers: 4.5}", "2 model.layers: ", "got 4.5"},
    {"model: {layers: \"4\"}", "2 model.layers: ", "got the text \"4\""},
    {"model: {layers: 4x}", "2 model.layers: ", "got 4x"},
    {"model: {layers: }", "2 model.layers: ", "got nothing"},
    {"model: {layers: [4]}", "2 model.layers: ", "got a list"},
    {"model: {layers: {a: 4}}", "2 model.layers: ", "got a map"},
    {"model: {layers: 0}", "2 model.layers: ", "got 0; did you mean 1?"},
    {"model: {layers: -3}", "2 model.layers: ", "did you mean 1?"},
    {"model: {width: 99999999999999999999}", "2 model.width: ", "got 99999999999999999999"},
    {"model: {family: gpt}", "2 model.family: ", "one of gpt2, llama, postnorm, got gpt; did you mean gpt2?"},
    {"model: {family: bert}", "2 model.family: ", "got bert"},
    {"model: {width: 130, heads: 4}", "2 model.", "130"},
    {"model: {heads: 4, kv_heads: 3}", "2 model.", "3"},
    {"model: {dropout: 1}", "2 model.dropout: ", "expected a number in [0, 1), got 1"},
    {"model: {dropout: -0.1}", "2 model.dropout: ", "did you mean 0?"},
    {"model: {dropout: nan}", "2 model.dropout: ", "got nan"},
    {"model: {vocabulary: 2000000}", "2 model.vocabulary: ", "did you mean 1048576?"},
    {"model: {tie_embeddings: yes}", "2 model.tie_embeddings: ", "true or false, got yes; did you mean true?"},
    {"model: {head_chunk_tokens: 0}", "2 model.head_chunk_tokens: ", "did you mean 1?"},
    {"run: {device: gpu}", "2 run.device: ", "one of auto, cpu, cuda"},
    {"distributed: {backend: gloo}", "2 distributed.backend: ", "one of auto, mpi, nccl"},
    {"run: {steps: 0}", "2 run.steps: ", "did you mean 1?"},
    {"run: {steps: 1e3}", "2 run.steps: ", "an integer"},
    {"run: {seed: -1}", "2 run.seed: ", "did you mean 0?"},
    {"run: {name: a/b}", "2 run.name: ", "did you mean b?"},
    {"run: {name: ''}", "2 run.name: ", "expected a name, got the text \"\""},
    {"run: {overwrite: 1}", "2 run.overwrite: ", "did you mean true?"},
    {"batch: {global_sequences: 8, micro_sequences: 3}",
     "2 batch.micro_sequences: ", "a divisor of batch.global_sequences (8), got 3; did you mean 2?"},
    {"batch: {micro_sequences: auto}", "2 batch.micro_sequences: ", "auto needs a budget to choose within, got auto"},
    {"batch: {micro_sequences: 'auto'}", "2 batch.micro_sequences: ", "or auto, got the text \"auto\""},
    {"optimizer: {learning_rate: 0}", "2 optimizer.learning_rate: ", "a number above 0, got 0"},
    {"optimizer: {learning_rate: 1e-3x}", "2 optimizer.learning_rate: ", "got 1e-3x"},
    {"optimizer: {beta2: 1.0}", "2 optimizer.beta2: ", "[0, 1)"},
    {"optimizer: {schedule: cosin}", "2 optimizer.schedule: ", "did you mean cosine?"},
    {"optimizer: {final_ratio: 1.5}", "2 optimizer.final_ratio: ", "did you mean 1?"},
    {"optimizer: {on_non_finite: ignore}", "2 optimizer.on_non_finite: ", "one of stop, skip"},
    {"checkpointing: {policy: evry}", "2 checkpointing.policy: ", "did you mean every?"},
    {"checkpointing: {policy: every, every: 0}", "2 checkpointing.every: ", "did you mean 1?"},
    {"checkpointing: {ratio: 0}", "2 checkpointing.ratio: ", "(0, 1]"},
    {"checkpointing: {list: 3}", "2 checkpointing.list: ", "a list of layers such as [0, 3], got 3"},
    {"checkpointing: {list: [0, x]}", "2 checkpointing.list[1]: ", "got x"},
    {"checkpointing: {policy: list, list: [9]}", "2 checkpointing.list: ", "9"},
    {"checkpointing: {segments: [{first: 1, last: 2}]}", "2 checkpointing.segments[0].recompute: ", "got nothing"},
    {"checkpointing: {segments: [{first: 1, last: 2, recomp: true}]}",
     "2 checkpointing.segments[0].recomp: ", "unknown key"},
    {"checkpointing: {policy: segments, segments: [{first: 0, last: 2, recompute: true}]}",
     "2 checkpointing.segments: ", ""},
    {"checkpointing: {budget: 3GiB}",
     "2 checkpointing.budget: ", "expected checkpointing.policy: budget beside it, got none"},
    {"checkpointing: {save: some}", "2 checkpointing.save: ", "one of all, lean, input"},
    {"checkpointing: {save: [all, lean]}", "2 checkpointing.save: ", "10"},
    {"distributed: {bucket_bytes: 25MIB}", "2 distributed.bucket_bytes: ", "bytes such as 25MiB"},
    {"distributed: {bucket_bytes: 1}", "2 distributed.bucket_bytes: ", "did you mean 64?"},
    {"distributed: {deadline: soon}", "2 distributed.deadline: ", "a duration such as 30s"},
    {"distributed: {deadline: 0s}", "2 distributed.deadline: ", "did you mean 0.1s?"},
    {"precision: {compute: fp16}",
     "2 precision.loss_scaling: ", "expected dynamic with precision.compute: fp16, got off"},
    {"snapshot: {every: 3}", "2 snapshot.every: ", "expected one of every_steps, keep, keep_every, resume"},
    {"monitoring: {prometheus: {listen: 80}}", "2 monitoring.prometheus.listen: ", "did you mean 127.0.0.1:0?"},
    {"monitoring: {prometheus: true}", "2 monitoring.prometheus: ", "expected a map of keys, got true"},
    {"monitoring: {every_steps: 0}", "2 monitoring.every_steps: ", "did you mean 1?"},
    {"model: [", "3: ", "expected YAML"},
    {"- model", "", "expected"},
};

TEST_F(ConfigTest, BrokenConfigurations) {
  for (const Broken& broken : kBroken) {
    SCOPED_TRACE(broken.yaml);
    const std::string message = error_of(std::string(kData) + broken.yaml + "\n");
    EXPECT_TRUE(message.starts_with((folder_ / "tiny.yaml:") + broken.start)) << message;
    EXPECT_NE(message.find("expected "), std::string::npos) << message;
    EXPECT_NE(message.find(broken.part), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST_F(ConfigTest, BrokenOverrides) {
  const auto message = [&](const std::string& text) { return error_of(kData, {text}); };
  EXPECT_EQ(message("model.layers"), "command line: expected key.sub=value, got model.layers");
  EXPECT_EQ(error_of(std::string(kData) + "checkpointing: {policy: full, every: 3}\n"), "no error");
  EXPECT_EQ(message("=3"), "command line: expected key.sub=value, got =3");
  EXPECT_EQ(message("model.layers=x"), "command line model.layers: expected an integer in 1 … 4096, got x");
  EXPECT_NE(message("model.layer=3").find("command line model.layer: "), std::string::npos);
  EXPECT_NE(message("model.layers=[").find("command line model.layers: expected YAML"), std::string::npos);
  EXPECT_EQ(error_of(kData, {"checkpointing.budget=3GiB", "checkpointing.policy=none"}), "no error");
  EXPECT_NE(message("data.directory=").find("got nothing"), std::string::npos);
  EXPECT_NE(message("model.heads=3").find("command line model."), std::string::npos) << message("model.heads=3");
}

TEST_F(ConfigTest, DataDirectoryIsTheOneThingWithoutDefault) {
  EXPECT_NE(error_of("").find("tiny.yaml data.directory: expected a folder"), std::string::npos) << error_of("");
  EXPECT_NE(error_of("run: {seed: 2}\ndata:\n").find("tiny.yaml:2 data.directory: "), std::string::npos);
  const Config config = load("", {"data.directory=shards"});
  EXPECT_EQ(config.data_directory, "shards");
  EXPECT_EQ(config.run.name, "tiny");
  EXPECT_EQ(config.run.directory, "runs/tiny");
  EXPECT_EQ(config.model.kv_heads, config.model.heads);
}

TEST_F(ConfigTest, MissingFileAndBinaryFile) {
  EXPECT_THROW(load_config("/nowhere.yaml", {}), ConfigError);
  EXPECT_NE(error_of(std::string("\0\1\2", 3)).find("UTF-8"), std::string::npos);
}

constexpr const char* kFull =
    R"(run: {name: full, directory: /tmp/somewhere else, seed: 18, steps: 300, max_seconds: 60, device: cpu,
      overwrite: true, init: runs/other}
model:
  family: llama
  layers: 2
  width: 96
  heads: 6
  kv_heads: 3
  feed_forward: 200
  context: 32
  dropout: 0.1
  vocabulary: 300
  tie_embeddings: false
  head_chunk_tokens: 64
  rope_theta: 500000.0
data: {directory: "shards: odd # name"}
batch: {global_sequences: 12, micro_sequences: 3}
optimizer: {learning_rate: 3e-4, beta1: 0.85, beta2: 0.99, epsilon: 1e-9, weight_decay: 0, clip_norm: 0.5,
            schedule: wsd, warmup_steps: 7, final_ratio: 0.05, on_non_finite: skip,
            on_spike: stop, spike_factor: 5, skip_limit: 3}
checkpointing: {policy: segments, group: 5, every: 4, ratio: 0.3, list: [1, 0],
  budget: 3GiB, knapsack: 80%, greedy: 20MiB, verify: 4,
  save: [all, input, input, lean, lean, all],
  segments: [{first: 0, last: 0, recompute: false}, {first: 1, last: 2, recompute: true},
             {first: 3, last: 4, recompute: true}, {first: 5, last: 5, recompute: false}]}
distributed: {backend: mpi, share_device: true, bucket_bytes: 1.5MiB, first_bucket_bytes: 1000, overlap: false,
  deadline: 2500ms, compare_every: 10}
precision: {compute: bf16, reduce: bf16, loss_scaling: dynamic}
snapshot: {every_steps: 7, keep: 3, keep_every: 70, resume: never}
monitoring: {every_steps: 5, evaluate_every: 50, evaluate_windows: 9, trace: true,
  prometheus: {enabled: false, listen: "0.0.0.0:9100"}}
)";

TEST_F(ConfigTest, EveryKeyIsReadAndReadsBack) {
  const Config config = load(kFull);
  EXPECT_EQ(config.model.family, Family::llama);
  EXPECT_EQ(config.model.kv_heads, 3);
  EXPECT_EQ(config.data_directory, "shards: odd # name");
  EXPECT_EQ(config.optimizer.learning_rate, 3e-4);
  EXPECT_EQ(config.skips.on_non_finite, NonFinite::skip);
  EXPECT_EQ(config.checkpointing.list, (std::vector<int>{1, 0}));
  ASSERT_EQ(config.checkpointing.segments.size(), 4u);
  EXPECT_EQ(config.checkpointing.segments[2], (Segment{3, 4, true}));
  EXPECT_EQ(config.checkpointing.save[3], SaveLevel::lean);
  EXPECT_EQ(config.distributed.bucket_bytes, 3 << 19);
  EXPECT_EQ(config.distributed.deadline_seconds, 2.5);
  EXPECT_FALSE(config.monitoring.prometheus_enabled);

  const Config fresh = load(kData);
  for (const Setting& setting :
       config_schema()) {  // the text above gives no key its default, so that none is forgotten
    EXPECT_NE(setting.write(config), setting.write(fresh)) << setting.key;
  }
  for (bool with_origins : {false, true}) {
    const std::string yaml = to_yaml(config, with_origins);
    const Config again = load_config(write("again.yaml", yaml), {});
    EXPECT_EQ(to_yaml(again, false), to_yaml(config, false)) << yaml;
  }
}

TEST_F(ConfigTest, OriginsSayWhereEachValueIsFrom) {
  write("dataset.json", R"({"format": "reprise.dataset/1", "state": "complete", "tokenizer": "bytes", "vocabulary": 300,
    "train_tokens": 1, "validation_tokens": 1, "documents": 1, "bytes_per_token": 1.0})");
  const Config config =
      load("model:\n  layers: 6\n", {"run.steps=7", "data.directory=" + folder_.path(), "run.steps=8"});
  const auto origin = [&](const std::string& key) { return config.origins.at(key); };
  EXPECT_EQ(config.run.steps, 8);
  EXPECT_EQ(origin("run.steps"), "command line");
  EXPECT_EQ(origin("model.layers"), folder_ / "tiny.yaml:2");
  EXPECT_EQ(origin("model.width"), "default");
  EXPECT_EQ(config.model.vocabulary, 300);
  EXPECT_EQ(origin("model.vocabulary"), "from the data");
  EXPECT_EQ(origin("model.kv_heads"), "derived");
  EXPECT_EQ(origin("run.name"), "from the file's name");
  const std::string yaml = to_yaml(config, true);
  EXPECT_NE(yaml.find("  layers: 6                                   # " + origin("model.layers") + "\n"),
            std::string::npos)
      << yaml;
  EXPECT_NE(yaml.find("  steps: 8"), std::string::npos);
}

TEST_F(ConfigTest, VocabularyBelowTheDataIsRefused) {
  write("dataset.json", R"({"format": "reprise.dataset/1", "state": "complete", "tokenizer": "bytes", "vocabulary": 300,
    "train_tokens": 1, "validation_tokens": 1, "documents": 1, "bytes_per_token": 1.0})");
  const std::string message = error_of("model: {vocabulary: 257}\n", {"data.directory=" + folder_.path()});
  EXPECT_NE(message.find("tiny.yaml:1 model.vocabulary: expected at least the 300 of"), std::string::npos) << message;
  EXPECT_EQ(load_config(write("tiny.yaml", kData), {"data.directory=" + folder_.path()}, false).model.vocabulary, 257);
}

TEST_F(ConfigTest, OverridesTakeSectionsListsAndUnits) {
  const Config config = load(kData, {"checkpointing={policy: list, list: [0, 2]}", "distributed.bucket_bytes=1MB",
                                     "monitoring.prometheus.enabled=false", "snapshot={}"});
  EXPECT_EQ(config.checkpointing.policy, "list");
  EXPECT_EQ(config.checkpointing.list, (std::vector<int>{0, 2}));
  EXPECT_EQ(config.distributed.bucket_bytes, 1'000'000);
  EXPECT_FALSE(config.monitoring.prometheus_enabled);
}

TEST_F(ConfigTest, SmallBatchesDeriveTheirMicroBatch) {
  EXPECT_EQ(load(kData, {"batch.global_sequences=6"}).micro_sequences, 3);
  EXPECT_EQ(load(kData, {"batch.global_sequences=1"}).micro_sequences, 1);
  EXPECT_EQ(load(kData).origins.at("batch.micro_sequences"), "default");
  const Config chooses = load(kData, {"checkpointing.policy=budget", "batch.micro_sequences=auto"});
  EXPECT_NE(to_yaml(chooses, false).find("micro_sequences: auto\n"), std::string::npos);
}

TEST_F(ConfigTest, RanksAgreeOnMathematicsNotOnPaths) {
  Config one = load(kData), other = load(kData, {"data.directory=elsewhere", "run.directory=there"});
  EXPECT_EQ(agreement_fields(one), agreement_fields(other));
  other.optimizer.beta2 = 0.5;
  EXPECT_NE(agreement_fields(one), agreement_fields(other));
}

TEST(ConfigSchema, HelpNamesEveryKeyAndDerivedDefaults) {
  const std::string help = settings_help();
  for (const Setting& setting : config_schema()) EXPECT_NE(help.find(setting.key), std::string::npos);
  EXPECT_NE(help.find("distributed.bucket_bytes         auto"), std::string::npos) << help;
  EXPECT_NE(help.find("model.kv_heads                   derived"), std::string::npos) << help;
}

TEST(ShippedConfigs, LoadAndValidate) {
  const char* source = std::getenv("REPRISE_SOURCE");
  if (source == nullptr) GTEST_SKIP() << "REPRISE_SOURCE is not set";
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(source) / "configs")) {
    if (entry.path().extension() != ".yaml") continue;
    EXPECT_NO_THROW(load_config(entry.path().string(), {}, false)) << entry.path();
    ++seen;
  }
  EXPECT_GE(seen, 4);
}

}  // namespace
}  // namespace reprise
