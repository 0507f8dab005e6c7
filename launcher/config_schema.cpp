#include "launcher/config_schema.h"

#include <fmt/format.h>

#include <limits>
#include <type_traits>

#include "launcher/value_kind.h"

namespace reprise {
namespace {

constexpr int64_t kMany = 1 << 20;
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
#define ROW(key, kind, meaning, member) row(key, kind, meaning, MEMBER(member))

// A map with all of first, last and recompute.
ValueKind<Segment> segment() {
  const std::string form = "{first: 1, last: 4, recompute: true}";
  const auto read = [=](const std::string& key, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::map) throw wrong_value(key, form, describe(node));
    const std::vector<std::string> names = {"first", "last", "recompute"};
    for (const std::string& given : node.keys) {
      if (std::ranges::find(names, given) != names.end()) continue;
      throw wrong_value(key + "." + given, one_of(names), "an unknown key", nearest_spelling(given, names));
    }
    const auto value_of = [&](const std::string& field, auto kind) {
      const auto found = std::ranges::find(node.keys, field);
      if (found == node.keys.end()) throw wrong_value(key + "." + field, "a value", "nothing");
      return kind.read(key + "." + field, node.items[static_cast<size_t>(found - node.keys.begin())]);
    };
    const ValueKind<int64_t> stage = integer(0, kMostStages - 1);
    return Segment{static_cast<int>(value_of("first", stage)), static_cast<int>(value_of("last", stage)),
                   value_of("recompute", true_or_false())};
  };
  const auto write = [](const Segment& own) {
    return fmt::format("{{first: {}, last: {}, recompute: {}}}", own.first, own.last, own.recompute);
  };
  return {form, read, write};
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
      ROW("run.name", text("a name"), "what the run is called", run.name),
      ROW("run.directory", text("a folder"), "where its files go", run.directory),
      ROW("run.seed", integer(0, kNoLimit), "of weights, data order and dropout", run.seed),
      ROW("run.steps", integer(1, kNoLimit), "optimizer updates", run.steps),
      ROW("run.max_seconds", number(kNotNegative), "saves and stops in time to end after so many; 0: no limit",
          run.max_seconds),
      ROW("run.device", name({"auto", "cpu", "cuda"}), "what computes; auto: a GPU where one is visible", run.device),
      ROW("run.overwrite", true_or_false(),
          "replace a run in the same directory, snapshots and all; a job that Slurm starts again goes on instead",
          run.overwrite),
      ROW("run.init", text("none, or a run, a snapshot or a folder made by `reprise import`"),
          "where the first weights are from; none: random ones", run.init),

      ROW("model.family",
          choice<Family>({{"gpt2", Family::gpt2}, {"llama", Family::llama}, {"postnorm", Family::postnorm}}),
          "architecture", model.family),
      ROW("model.layers", integer(1, kMostLayers), "transformer blocks", model.layers),
      ROW("model.width", integer(1, kMany), "residual stream", model.width),
      ROW("model.heads", integer(1, kMany), "attention heads", model.heads),
      ROW("model.kv_heads", integer(1, kMany), "key and value heads; fewer than heads: grouped queries",
          model.kv_heads),
      ROW("model.feed_forward", integer(1, kMany), "hidden width of the feed-forward", model.feed_forward),
      ROW("model.context", integer(1, kMany), "positions of a sequence", model.context),
      ROW("model.dropout", number(kBelowOne), "on the embedding and the residual outputs", model.dropout),
      ROW("model.vocabulary", integer(2, kMany), "token ids", model.vocabulary),
      ROW("model.tie_embeddings", true_or_false(), "head and embedding share one matrix", model.tie_embeddings),
      ROW("model.head_chunk_tokens", integer(1, 16 * kMany, kAuto),
          "rows of logits that exist at once; auto: by vocabulary and width", model.head_chunk_tokens),
      ROW("model.rope_theta", number({1, kInfinity, true}), "base of the rotary positions' angles; llama's",
          model.rope_theta),
  };
}

Rows data_batch_and_optimizer() {
  return {
      ROW("data.directory", text("a folder made by `reprise data prepare`"), "token shards", data_directory),

      ROW("batch.global_sequences", integer(1, kMany), "sequences of one update, over all ranks", global_sequences),
      ROW("batch.micro_sequences", integer(1, kMany, kAuto), "sequences of one forward on one rank", micro_sequences),

      ROW("optimizer.learning_rate", number(kPositive), "peak", optimizer.learning_rate),
      ROW("optimizer.beta1", number(kBelowOne), "decay of the first moment", optimizer.beta1),
      ROW("optimizer.beta2", number(kBelowOne), "decay of the second moment", optimizer.beta2),
      ROW("optimizer.epsilon", number(kPositive), "added to the root of the second moment", optimizer.epsilon),
      ROW("optimizer.weight_decay", number(kNotNegative), "of matrices", optimizer.weight_decay),
      ROW("optimizer.clip_norm", number(kNotNegative), "highest global gradient norm; 0: no clipping",
          optimizer.clip_norm),
      ROW("optimizer.schedule",
          choice<Schedule>({{"constant", Schedule::constant},
                            {"linear", Schedule::linear},
                            {"cosine", Schedule::cosine},
                            {"wsd", Schedule::wsd}}),
          "learning rate after the warm-up", optimizer.schedule),
      ROW("optimizer.warmup_steps", integer(0, kNoLimit), "linear warm-up", optimizer.warmup_steps),
      ROW("optimizer.final_ratio", number(kZeroToOne), "last learning rate over the peak", optimizer.final_ratio),
      ROW("optimizer.on_non_finite", choice<NonFinite>({{"stop", NonFinite::stop}, {"skip", NonFinite::skip}}),
          "what a NaN or infinite gradient does", skips.on_non_finite),
      ROW("optimizer.on_spike",
          choice<OnSpike>({{"off", OnSpike::off}, {"stop", OnSpike::stop}, {"skip", OnSpike::skip}}),
          "what a gradient norm far over the median of the last 100 updates does", skips.on_spike),
      ROW("optimizer.spike_factor", number({1, kInfinity, true}), "so many medians are a spike", skips.spike_factor),
      ROW("optimizer.skip_limit", integer(1, 100), "of the last 100 steps; one more skipped step stops the run",
          skips.skip_limit),
  };
}

Rows checkpointing() {
  return {
      ROW("checkpointing.policy",
          name({"none", "full", "group", "every", "ratio", "sqrt", "list", "segments", "budget", "knapsack", "greedy"}),
          "which layers recompute their activations", checkpointing.policy),
      ROW("checkpointing.group", integer(1, kMostLayers), "layers of a segment of policy `group`", checkpointing.group),
      ROW("checkpointing.every", integer(1, kMostLayers), "policy `every` recomputes layers 0, k, 2k, …",
          checkpointing.every),
      ROW("checkpointing.ratio", number({0, 1, true}), "share of layers that policy `ratio` recomputes",
          checkpointing.ratio),
      ROW("checkpointing.list", list_of<int>("a list of layers such as [0, 3]", integer(0, kMostLayers - 1)),
          "layers that policy `list` recomputes, each alone", checkpointing.list),
      ROW("checkpointing.segments", list_of<Segment>("a list of {first: 1, last: 4, recompute: true}", segment()),
          "what policy `segments` does, in stages", checkpointing.segments),
      ROW("checkpointing.save", save_levels(), "what a stage keeps for its backward", checkpointing.save),
      ROW("checkpointing.budget", budget(), "tensor bytes of a rank that policy `budget` may use", budget.budget),
      ROW("checkpointing.knapsack", budget(), "the same for policy `knapsack`", budget.knapsack),
      ROW("checkpointing.greedy", byte_count(0, int64_t{1} << 50), "bytes that policy `greedy` saves",
          budget.greedy_bytes),
      ROW("checkpointing.verify", integer(0, kNoLimit),
          "in every n-th step one replayed segment is compared with its forward; 0: never", verify_every),
  };
}

Rows system() {
  return {
      ROW("distributed.backend", name({"auto", "mpi", "nccl"}), "what sums gradients; auto: nccl between GPUs",
          distributed.backend),
      ROW("distributed.share_device", true_or_false(), "let ranks of a host use one GPU together",
          distributed.share_device),
      ROW("distributed.bucket_bytes", byte_count(64, int64_t{1} << 40, kAuto), "gradients that travel as one",
          distributed.bucket_bytes),
      ROW("distributed.first_bucket_bytes", byte_count(64, int64_t{1} << 40, kAuto),
          "of the first bucket, which leaves early", distributed.first_bucket_bytes),
      ROW("distributed.overlap", true_or_false(), "send buckets while the backward still runs", distributed.overlap),
      ROW("distributed.deadline", duration(0.1, 86400), "floor of every wait's limit", distributed.deadline_seconds),
      ROW("distributed.compare_every", integer(0, kNoLimit),
          "steps between comparisons of the ranks' weights, also before each save; 0: never",
          distributed.compare_every),

      ROW("precision.compute", name({"fp32", "tf32", "bf16", "fp16"}),
          "of forward and backward, tf32 and fp16 on a GPU only; parameters, norms and loss stay fp32",
          precision.compute),
      ROW("precision.reduce", choice<torch::Dtype>({{"fp32", torch::kFloat32}, {"bf16", torch::kBFloat16}}),
          "of gradients between ranks", precision.reduce),
      ROW("precision.loss_scaling", choice<bool>({{"off", false}, {"dynamic", true}}),
          "form gradients 2^k times too large, for narrow exponents", precision.scales_loss),

      ROW("snapshot.every_steps", integer(0, kNoLimit), "steps between snapshots, and one after the last; 0: none",
          snapshot.every_steps),
      ROW("snapshot.keep", integer(2, kNoLimit), "newest good snapshots that stay", snapshot.keep),
      ROW("snapshot.keep_every", integer(0, kNoLimit), "those of every so many steps stay too; 0: none",
          snapshot.keep_every),
      ROW("snapshot.resume", text("auto, never, or a run or a snapshot"),
          "auto: go on from the run's newest good snapshot; a path: from there where the run has none",
          snapshot.resume),

      ROW("monitoring.every_steps", integer(1, kNoLimit), "steps between lines on the console", monitoring.every_steps),
      ROW("monitoring.evaluate_every", integer(0, kNoLimit), "steps between evaluations; 0: at the end only",
          monitoring.evaluate_every),
      ROW("monitoring.evaluate_windows", integer(0, kNoLimit), "sequences of an evaluation at most; 0: all",
          monitoring.evaluate_windows),
      ROW("monitoring.trace", true_or_false(),
          "write trace/rank-N.json, a timeline of every step, for `reprise trace merge`", monitoring.trace),
      ROW("monitoring.prometheus.enabled", true_or_false(), "serve metrics on every rank",
          monitoring.prometheus_enabled),
      ROW("monitoring.prometheus.listen", text("an address such as 127.0.0.1:0"), "where; port 0 takes a free one",
          monitoring.prometheus_listen),
  };
}

#undef ROW
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
