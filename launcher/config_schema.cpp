#include "launcher/config_schema.h"

#include <limits>

namespace reprise {

namespace {

constexpr int64_t kMany = 1 << 20;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Range kBelowOne{0, 1, false, true};
constexpr Range kZeroToOne{0, 1};
constexpr Range kNotNegative{0, kInfinity};
constexpr Range kPositive{0, kInfinity, true};

// Binds a table row to a member of Config, const or not.
#define MEMBER(path) \
  [](auto& config) -> auto& { return config.path; }

using Rows = std::vector<Setting>;

Rows run_and_model() {
  return {
      text_setting("run.name", "a name", "what the run is called", MEMBER(run.name)),
      text_setting("run.directory", "a folder", "where its files go", MEMBER(run.directory)),
      integer_setting("run.seed", 0, kNoLimit, "of weights, data order and dropout", MEMBER(run.seed)),
      integer_setting("run.steps", 1, kNoLimit, "optimizer updates", MEMBER(run.steps)),
      boolean_setting("run.overwrite", "replace a run in the same directory", MEMBER(run.overwrite)),

      choice_setting<Family>("model.family",
                             {{"gpt2", Family::gpt2}, {"llama", Family::llama}, {"postnorm", Family::postnorm}},
                             "architecture", MEMBER(model.family)),
      integer_setting("model.layers", 1, 4096, "transformer blocks", MEMBER(model.layers)),
      integer_setting("model.width", 1, kMany, "residual stream", MEMBER(model.width)),
      integer_setting("model.heads", 1, kMany, "attention heads", MEMBER(model.heads)),
      integer_setting("model.kv_heads", 1, kMany, "key and value heads; fewer than heads: grouped queries",
                      MEMBER(model.kv_heads)),
      integer_setting("model.feed_forward", 1, kMany, "hidden width of the feed-forward", MEMBER(model.feed_forward)),
      integer_setting("model.context", 1, kMany, "positions of a sequence", MEMBER(model.context)),
      number_setting("model.dropout", kBelowOne, "on the embedding and the residual outputs", MEMBER(model.dropout)),
      integer_setting("model.vocabulary", 2, 65536, "token ids", MEMBER(model.vocabulary)),
      boolean_setting("model.tie_embeddings", "head and embedding share one matrix", MEMBER(model.tie_embeddings)),
      integer_setting("model.head_chunk_tokens", 1, kMany, "rows of logits that exist at once",
                      MEMBER(model.head_chunk_tokens)),
  };
}

Rows data_batch_and_optimizer() {
  return {
      text_setting("data.directory", "a folder made by `reprise data prepare`", "token shards", MEMBER(data_directory)),

      integer_setting("batch.global_sequences", 1, kMany, "sequences of one update, over all ranks",
                      MEMBER(global_sequences)),
      or_auto(integer_setting("batch.micro_sequences", 1, kMany, "sequences of one forward on one rank",
                              MEMBER(micro_sequences), kOrAuto),
              MEMBER(micro_sequences)),

      number_setting("optimizer.learning_rate", kPositive, "peak", MEMBER(optimizer.learning_rate)),
      number_setting("optimizer.beta1", kBelowOne, "decay of the first moment", MEMBER(optimizer.beta1)),
      number_setting("optimizer.beta2", kBelowOne, "decay of the second moment", MEMBER(optimizer.beta2)),
      number_setting("optimizer.epsilon", kPositive, "added to the root of the second moment",
                     MEMBER(optimizer.epsilon)),
      number_setting("optimizer.weight_decay", kNotNegative, "of matrices", MEMBER(optimizer.weight_decay)),
      number_setting("optimizer.clip_norm", kNotNegative, "highest global gradient norm; 0: no clipping",
                     MEMBER(optimizer.clip_norm)),
      choice_setting<Schedule>("optimizer.schedule",
                               {{"constant", Schedule::constant},
                                {"linear", Schedule::linear},
                                {"cosine", Schedule::cosine},
                                {"wsd", Schedule::wsd}},
                               "learning rate after the warm-up", MEMBER(optimizer.schedule)),
      integer_setting("optimizer.warmup_steps", 0, kNoLimit, "linear warm-up", MEMBER(optimizer.warmup_steps)),
      number_setting("optimizer.final_ratio", kZeroToOne, "last learning rate over the peak",
                     MEMBER(optimizer.final_ratio)),
      choice_setting<NonFinite>("optimizer.on_non_finite", {{"stop", NonFinite::stop}, {"skip", NonFinite::skip}},
                                "what a NaN or infinite gradient does", MEMBER(on_non_finite)),
  };
}

Rows system() {
  const auto same = [](const char* name) { return std::pair<std::string, std::string>(name, name); };
  return {
      choice_setting<std::string>("distributed.backend", {same("mpi"), same("threads")}, "what connects the ranks",
                                  MEMBER(distributed.backend)),
      integer_setting("distributed.ranks", 1, 64, "of backend threads; with mpi, mpirun says how many",
                      MEMBER(distributed.threads_ranks)),
      or_auto(bytes_setting("distributed.bucket_bytes", 64, int64_t{1} << 40, "gradients that travel as one",
                            MEMBER(distributed.bucket_bytes), kOrAuto),
              MEMBER(distributed.bucket_bytes)),
      or_auto(bytes_setting("distributed.first_bucket_bytes", 64, int64_t{1} << 40,
                            "of the first bucket, which leaves early", MEMBER(distributed.first_bucket_bytes), kOrAuto),
              MEMBER(distributed.first_bucket_bytes)),
      boolean_setting("distributed.overlap", "send buckets while the backward still runs", MEMBER(distributed.overlap)),
      seconds_setting("distributed.deadline", {0.1, 86400}, "floor of every wait's limit",
                      MEMBER(distributed.deadline_seconds)),

      choice_setting<std::string>("precision.compute", {same("fp32")}, "of forward and backward", MEMBER(compute)),

      integer_setting("monitoring.every_steps", 1, kNoLimit, "steps between lines on the console",
                      MEMBER(monitoring.every_steps)),
      integer_setting("monitoring.evaluate_every", 0, kNoLimit, "steps between evaluations; 0: at the end only",
                      MEMBER(monitoring.evaluate_every)),
      integer_setting("monitoring.evaluate_windows", 0, kNoLimit, "sequences of an evaluation at most; 0: all",
                      MEMBER(monitoring.evaluate_windows)),
      boolean_setting("monitoring.trace",
                      "write trace/rank-N.json, a timeline of every step, for `reprise trace merge`",
                      MEMBER(monitoring.trace)),
      boolean_setting("monitoring.prometheus.enabled", "serve metrics on every rank",
                      MEMBER(monitoring.prometheus_enabled)),
      text_setting("monitoring.prometheus.listen", "an address such as 127.0.0.1:0", "where; port 0 takes a free one",
                   MEMBER(monitoring.prometheus_listen)),
  };
}

#undef MEMBER

}  // namespace

std::vector<Setting> config_schema() {
  Rows rows;
  for (Rows part : {run_and_model(), data_batch_and_optimizer(), checkpointing_settings(), system()}) {
    std::move(part.begin(), part.end(), std::back_inserter(rows));
  }
  return rows;
}

}  // namespace reprise
