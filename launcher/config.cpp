#include "launcher/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "checkpointing/segment_executor.h"
#include "launcher/config_schema.h"
#include "launcher/plan_choice.h"
#include "launcher/spelling.h"
#include "launcher/units.h"
#include "model/stage_chain.h"
#include "training/dataset.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

bool is_given(const Config& config, const std::string& key) { return config.origins.contains(key); }

template <class T>
void derive(Config& config, const std::string& key, T& member, const T& value, const char* origin) {
  if (is_given(config, key)) return;
  member = value;
  config.origins[key] = origin;
}

void derive_run(Config& config) {
  derive(config, "run.name", config.run.name, std::filesystem::path(config.source).stem().string(),
         "from the file's name");
  const std::string& name = config.run.name;
  if (name.find('/') != std::string::npos || name.starts_with('.')) {
    throw wrong_value("run.name", "a name without / that does not start with a dot", name,
                      std::filesystem::path(name).filename().string());
  }
  derive(config, "run.directory", config.run.directory, "runs/" + name, "derived");
}

void derive_data(Config& config, bool with_data) {
  if (!with_data) return;
  if (config.data_directory.empty()) {
    throw wrong_value("data.directory", "a folder made by `reprise data prepare`", "nothing");
  }
  if (!std::filesystem::is_directory(config.data_directory)) return;
  const DatasetInfo info = read_dataset_info(config.data_directory);
  config.tokenizer = tokenizer_in(config.data_directory, info.tokenizer);
  const int64_t vocabulary = info.vocabulary;
  if (vocabulary == 0 && !is_given(config, "model.vocabulary")) {
    throw wrong_value(
        "model.vocabulary",
        fmt::format("the vocabulary of {}, which has no dataset.json to say it (GPT-2: 50257)", config.data_directory),
        "nothing");
  }
  if (vocabulary == 0 || !std::filesystem::exists(config.data_directory + "/dataset.json")) return;
  derive(config, "model.vocabulary", config.model.vocabulary, vocabulary, "from the data");
  if (config.model.vocabulary < vocabulary) {
    throw wrong_value("model.vocabulary", fmt::format("at least the {} of {}", vocabulary, config.data_directory),
                      std::to_string(config.model.vocabulary), std::to_string(vocabulary));
  }
}

void derive_model(Config& config) {
  const ModelConfig given = config.model;
  config.model = given.resolved();
  if (given.kv_heads != config.model.kv_heads) config.origins["model.kv_heads"] = "derived";
  if (given.feed_forward != config.model.feed_forward) config.origins["model.feed_forward"] = "derived";
  if (given.head_chunk_tokens != config.model.head_chunk_tokens) config.origins["model.head_chunk_tokens"] = "derived";
}

void derive_batch(Config& config) {
  if (config.micro_sequences == kAuto) {
    const std::string& policy = config.checkpointing.policy;
    if (policy == "budget" || policy == "knapsack") return;
    throw wrong_value(
        "batch.micro_sequences",
        fmt::format("a number with checkpointing.policy: {}, for auto needs a budget to choose within", policy), "auto",
        "");
  }
  const int64_t global = config.global_sequences, micro = config.micro_sequences;
  int64_t fitting = std::min(micro, global);
  while (global % fitting != 0) --fitting;
  if (fitting != micro) derive(config, "batch.micro_sequences", config.micro_sequences, fitting, "derived");
  if (global % config.micro_sequences != 0) {
    throw wrong_value("batch.micro_sequences", fmt::format("a divisor of batch.global_sequences ({})", global),
                      std::to_string(micro), std::to_string(fitting));
  }
}

// A policy's value does nothing without the policy. But a policy may be chosen beside or after the values of others.
void check_policy(const Config& config) {
  const bool is_chosen = is_given(config, "checkpointing.policy");
  const bool is_chosen_last = is_chosen && config.origins.at("checkpointing.policy") == kCommandLine;
  for (const std::string policy : {"group", "every", "ratio", "list", "segments", "budget", "knapsack", "greedy"}) {
    const std::string key = "checkpointing." + policy, &chosen = config.checkpointing.policy;
    if (!is_given(config, key) || policy == chosen) continue;
    if (is_chosen_last || (is_chosen && config.origins.at(key) != kCommandLine)) continue;
    throw wrong_value(key, "checkpointing.policy: " + policy + " beside it", chosen);
  }
}

void check_system(const Config& config) {
  if (config.precision.compute == "fp16" && !config.precision.scales_loss) {
    throw wrong_value("precision.loss_scaling", "dynamic with precision.compute: fp16", "off", "dynamic");
  }
  const std::string& listen = config.monitoring.prometheus_listen;
  const size_t colon = listen.rfind(':');
  const std::optional<int64_t> port =
      colon == std::string::npos || colon == 0 ? std::nullopt : parse_integer(listen.substr(colon + 1));
  if (!port || *port < 0 || *port > 65535) {
    throw wrong_value("monitoring.prometheus.listen", "host:port with a port in 0 … 65535", listen, "127.0.0.1:0");
  }
}

}  // namespace

Config load_config(const std::string& path, const std::vector<std::string>& overrides, bool with_data) {
  Config config;
  read_config_file(config, path);
  for (const std::string& text : overrides) read_override(config, text);
  complete(config, with_data);
  return config;
}

void complete(Config& config, bool with_data) {
  try {
    derive_run(config);
    derive_data(config, with_data);
    derive_model(config);
    if (with_data) check_policy(config);
    derive_batch(config);
    check_system(config);
    const std::string& policy = config.checkpointing.policy;
    const bool needs_costs = policy == "budget" || policy == "knapsack" || policy == "greedy";
    if (!needs_costs) plan_of(config.checkpointing, shapes_of(StageChain(config.model)));
  } catch (const InvalidSetting& error) {
    throw at_setting(config, error);
  }
  for (const Setting& setting : config_schema()) config.origins.try_emplace(setting.key, "default");
}

ConfigError at_setting(const Config& config, const InvalidSetting& error) {
  // A value that nobody wrote has no place of its own: its section has, or else the file.
  std::string place = config.source;
  for (std::string key = error.key(); !key.empty();
       key.resize(key.find('.') == std::string::npos ? 0 : key.rfind('.'))) {
    const auto origin = config.origins.find(key);
    if (origin == config.origins.end()) continue;
    if (!origin->second.starts_with(config.source) && origin->second != kCommandLine) continue;
    place = origin->second;
    break;
  }
  return ConfigError(fmt::format("{}{}{}: {}", place, place.empty() ? "" : " ", error.key(), error.what()));
}

torch::Dtype Config::compute_type() const {
  if (precision.compute == "bf16") return torch::kBFloat16;
  return precision.compute == "fp16" ? torch::kFloat16 : torch::kFloat32;
}

TrainerSetting Config::trainer() const {
  const BucketCaps caps = bucket_caps(*this, false).front();  // auto is still there only without a wire
  return {.seed = run.seed,
          .steps = run.steps,
          .global_sequences = global_sequences,
          .micro_sequences = micro_sequences,
          .first_bucket_bytes = caps.first_bytes,
          .bucket_bytes = caps.bytes,
          .overlap = distributed.overlap,
          .deadline_seconds = distributed.deadline_seconds,
          .verify_every = verify_every,
          .compare_every = distributed.compare_every,
          .skips = skips,
          .optimizer = optimizer,
          .precision = {compute_type(), precision.reduce, precision.scales_loss}};
}

}  // namespace reprise
