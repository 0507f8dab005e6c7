#include "launcher/config_schema.h"

#include <fmt/format.h>

#include <limits>
#include <type_traits>

#include "launcher/value_kind.h"

namespace reprise {

namespace {

constexpr int64_t kMany = 1 << 20, kMostLayers = 4096;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Range<double> kBelowOne{0, 1, false, true}, kZeroToOne{0, 1}, kNotNegative{0, kInfinity},
    kPositive{0, kInfinity, true};

// A row of the table. `member` is a generic lambda from a Config (const or not) to the member that holds the value.
template <class T, class Member>
Setting row(const char* key, ValueKind<T> kind, const char* meaning, Member member) {
  const auto read = [=](Config& config, const YamlNode& node) {
    auto& target = member(config);
    target = static_cast<std::remove_reference_t<decltype(target)>>(kind.read(key, node));
  };
  return {key, kind.expected, meaning, read,
          [=](const Config& config) { return kind.write(static_cast<T>(member(config))); }};
}

#define MEMBER(path) \
  [](auto& config) -> auto& { return config.path; }

// A map with all of first, last and recompute.
ValueKind<Segment> segment() {
  const auto read = [](const std::string& key, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::map) {
      throw wrong_value(key, "{first: 1, last: 4, recompute: true}", describe(node));
    }
    const std::vector<std::string> names = {"first", "last", "recompute"};
    for (const std::string& given : node.keys) {
      if (std::find(names.begin(), names.end(), given) != names.end()) continue;
      throw wrong_value(key + "." + given, one_of(names), "an unknown key", nearest_spelling(given, names));
    }
    const auto value_of = [&](const std::string& field, auto kind) {
      const auto found = std::find(node.keys.begin(), node.keys.end(), field);
      if (found == node.keys.end()) throw wrong_value(key + "." + field, "a value", "nothing");
      return kind.read(key + "." + field, node.items[static_cast<size_t>(found - node.keys.begin())]);
    };
    const ValueKind<int64_t> stage = integer(0, 2 * kMostLayers + 1);
    return Segment{static_cast<int>(value_of("first", stage)), static_cast<int>(value_of("last", stage)),
                   value_of("recompute", true_or_false())};
  };
  const auto write = [](const Segment& own) {
    return fmt::format("{{first: {}, last: {}, recompute: {}}}", own.first, own.last, own.recompute);
  };
  return {"{first: 1, last: 4, recompute: true}", read, write};
}

// One level for all stages, or a list.
ValueKind<std::vector<SaveLevel>> save_levels() {
  const ValueKind<SaveLevel> level =
      choice<SaveLevel>({{"all", SaveLevel::all}, {"lean", SaveLevel::lean}, {"input", SaveLevel::input}});
  const auto list = list_of<SaveLevel>(level.expected + ", or a list with one of them for each stage", level);
  const auto read = [=](const std::string& key, const YamlNode& node) {
    const bool is_one = node.kind == YamlNode::Kind::scalar;
    return is_one ? std::vector<SaveLevel>{level.read(key, node)} : list.read(key, node);
  };
  return {list.expected, read, [=](const std::vector<SaveLevel>& levels) {
            return levels.size() == 1 ? level.write(levels[0]) : list.write(levels);
          }};
}

using Rows = std::vector<Setting>;

Rows run_and_model() {
  return {
      row("run.name", text("a name"), "what the run is called", MEMBER(run.name)),
      row("run.directory", text("a folder"), "where its files go", MEMBER(run.directory)),
      row("run.seed", integer(0, kNoLimit), "of weights, data order and dropout", MEMBER(run.seed)),
      row("run.steps", integer(1, kNoLimit), "optimizer updates", MEMBER(run.steps)),
      row("run.overwrite", true_or_false(), "replace a run in the same directory", MEMBER(run.overwrite)),

      row("model.family",
          choice<Family>({{"gpt2", Family::gpt2}, {"llama", Family::llama}, {"postnorm", Family::postnorm}}),
          "architecture", MEMBER(model.family)),
      row("model.layers", integer(1, 4096), "transformer blocks", MEMBER(model.layers)),
      row("model.width", integer(1, kMany), "residual stream", MEMBER(model.width)),
      row("model.heads", integer(1, kMany), "attention heads", MEMBER(model.heads)),
      row("model.kv_heads", integer(1, kMany), "key and value heads; fewer than heads: grouped queries",
          MEMBER(model.kv_heads)),
      row("model.feed_forward", integer(1, kMany), "hidden width of the feed-forward", MEMBER(model.feed_forward)),
      row("model.context", integer(1, kMany), "positions of a sequence", MEMBER(model.context)),
      row("model.dropout", number(kBelowOne), "on the embedding and the residual outputs", MEMBER(model.dropout)),
      row("model.vocabulary", integer(2, 65536), "token ids", MEMBER(model.vocabulary)),
      row("model.tie_embeddings", true_or_false(), "head and embedding share one matrix", MEMBER(model.tie_embeddings)),
      row("model.head_chunk_tokens", integer(1, kMany), "rows of logits that exist at once",
          MEMBER(model.head_chunk_tokens)),
  };
}

Rows data_batch_and_optimizer() {
  return {
      row("data.directory", text("a folder made by `reprise data prepare`"), "token shards", MEMBER(data_directory)),

      row("batch.global_sequences", integer(1, kMany), "sequences of one update, over all ranks",
          MEMBER(global_sequences)),
      row("batch.micro_sequences", integer(1, kMany, kAuto), "sequences of one forward on one rank",
          MEMBER(micro_sequences)),

      row("optimizer.learning_rate", number(kPositive), "peak", MEMBER(optimizer.learning_rate)),
      row("optimizer.beta1", number(kBelowOne), "decay of the first moment", MEMBER(optimizer.beta1)),
      row("optimizer.beta2", number(kBelowOne), "decay of the second moment", MEMBER(optimizer.beta2)),
      row("optimizer.epsilon", number(kPositive), "added to the root of the second moment", MEMBER(optimizer.epsilon)),
      row("optimizer.weight_decay", number(kNotNegative), "of matrices", MEMBER(optimizer.weight_decay)),
      row("optimizer.clip_norm", number(kNotNegative), "highest global gradient norm; 0: no clipping",
          MEMBER(optimizer.clip_norm)),
      row("optimizer.schedule",
          choice<Schedule>({{"constant", Schedule::constant},
                            {"linear", Schedule::linear},
                            {"cosine", Schedule::cosine},
                            {"wsd", Schedule::wsd}}),
          "learning rate after the warm-up", MEMBER(optimizer.schedule)),
      row("optimizer.warmup_steps", integer(0, kNoLimit), "linear warm-up", MEMBER(optimizer.warmup_steps)),
      row("optimizer.final_ratio", number(kZeroToOne), "last learning rate over the peak",
          MEMBER(optimizer.final_ratio)),
      row("optimizer.on_non_finite", choice<NonFinite>({{"stop", NonFinite::stop}, {"skip", NonFinite::skip}}),
          "what a NaN or infinite gradient does", MEMBER(on_non_finite)),
  };
}

Rows checkpointing() {
  return {
      row("checkpointing.policy",
          name({"none", "full", "group", "every", "ratio", "sqrt", "list", "segments", "budget", "knapsack", "greedy"}),
          "which layers recompute their activations", MEMBER(checkpointing.policy)),
      row("checkpointing.group", integer(1, kMostLayers), "layers of a segment of policy `group`",
          MEMBER(checkpointing.group)),
      row("checkpointing.every", integer(1, kMostLayers), "policy `every` recomputes layers 0, k, 2k, …",
          MEMBER(checkpointing.every)),
      row("checkpointing.ratio", number({0, 1, true}), "share of layers that policy `ratio` recomputes",
          MEMBER(checkpointing.ratio)),
      row("checkpointing.list", list_of<int>("a list of layers such as [0, 3]", integer(0, kMostLayers - 1)),
          "layers that policy `list` recomputes, each alone", MEMBER(checkpointing.list)),
      row("checkpointing.segments", list_of<Segment>("a list of {first: 1, last: 4, recompute: true}", segment()),
          "what policy `segments` does, in stages", MEMBER(checkpointing.segments)),
      row("checkpointing.save", save_levels(), "what a stage keeps for its backward", MEMBER(checkpointing.save)),
      row("checkpointing.budget", budget(), "tensor bytes of a rank that policy `budget` may use",
          MEMBER(budget.budget)),
      row("checkpointing.knapsack", budget(), "the same for policy `knapsack`", MEMBER(budget.knapsack)),
      row("checkpointing.greedy", byte_count(0, int64_t{1} << 50), "bytes that policy `greedy` saves",
          MEMBER(budget.greedy_bytes)),
  };
}

Rows system() {
  return {
      row("distributed.bucket_bytes", byte_count(64, int64_t{1} << 40, kAuto), "gradients that travel as one",
          MEMBER(distributed.bucket_bytes)),
      row("distributed.first_bucket_bytes", byte_count(64, int64_t{1} << 40, kAuto),
          "of the first bucket, which leaves early", MEMBER(distributed.first_bucket_bytes)),
      row("distributed.overlap", true_or_false(), "send buckets while the backward still runs",
          MEMBER(distributed.overlap)),
      row("distributed.deadline", duration(0.1, 86400), "floor of every wait's limit",
          MEMBER(distributed.deadline_seconds)),

      row("precision.compute", name({"fp32", "tf32", "bf16", "fp16"}),
          "of forward and backward, tf32 and fp16 on a GPU only; parameters, norms and loss stay fp32",
          MEMBER(precision.compute)),
      row("precision.reduce", choice<torch::Dtype>({{"fp32", torch::kFloat32}, {"bf16", torch::kBFloat16}}),
          "of gradients between ranks", MEMBER(precision.reduce)),
      row("precision.loss_scaling", choice<bool>({{"off", false}, {"dynamic", true}}),
          "form gradients 2^k times too large, for narrow exponents", MEMBER(precision.scales_loss)),

      row("monitoring.every_steps", integer(1, kNoLimit), "steps between lines on the console",
          MEMBER(monitoring.every_steps)),
      row("monitoring.evaluate_every", integer(0, kNoLimit), "steps between evaluations; 0: at the end only",
          MEMBER(monitoring.evaluate_every)),
      row("monitoring.evaluate_windows", integer(0, kNoLimit), "sequences of an evaluation at most; 0: all",
          MEMBER(monitoring.evaluate_windows)),
      row("monitoring.trace", true_or_false(),
          "write trace/rank-N.json, a timeline of every step, for `reprise trace merge`", MEMBER(monitoring.trace)),
      row("monitoring.prometheus.enabled", true_or_false(), "serve metrics on every rank",
          MEMBER(monitoring.prometheus_enabled)),
      row("monitoring.prometheus.listen", text("an address such as 127.0.0.1:0"), "where; port 0 takes a free one",
          MEMBER(monitoring.prometheus_listen)),
  };
}

#undef MEMBER

}  // namespace

std::vector<Setting> config_schema() {
  Rows rows;
  for (Rows part : {run_and_model(), data_batch_and_optimizer(), checkpointing(), system()}) {
    std::move(part.begin(), part.end(), std::back_inserter(rows));
  }
  return rows;
}

}  // namespace reprise
