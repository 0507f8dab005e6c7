#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace reprise {

// A setting that the user can mend. `key` is the dotted configuration key ("model.heads"); the message says what was
// expected, what was got and the nearest legal value. The launcher adds file and line and exits with 78.
class InvalidSetting : public std::invalid_argument {
 public:
  InvalidSetting(std::string setting_key, const std::string& message)
      : std::invalid_argument(message), key_(std::move(setting_key)) {}
  const std::string& key() const { return key_; }

 private:
  std::string key_;
};

enum class Family { gpt2, llama, postnorm };

// Cross-entropy of the next token; or, postnorm only, mean-squared error of real (B, T, C) inputs and targets, without
// an embedding and with attention that sees every position. No key of a configuration file: the data there is tokens.
enum class Objective { next_token, regression };

// The mathematics of a model. Zero means "derive": kv_heads = heads, feed_forward = the family's usual multiple
// (gpt2, postnorm: 4·width; llama: 8/3·width rounded up to a multiple of 64), head_chunk_tokens = so many that a
// chunk's logits take 64 MiB in two bytes each, and at least width / 2, below which a device spends longer on adding to
// the weight's gradient, once a chunk, than on the logits; rounded up to a multiple of 128.
struct ModelConfig {
  Family family = Family::gpt2;
  Objective objective = Objective::next_token;
  int layers = 4;
  int64_t width = 128;
  int64_t heads = 4;
  int64_t kv_heads = 0;
  int64_t feed_forward = 0;
  int64_t context = 128;
  double dropout = 0.0;
  int64_t vocabulary = 257;  // real entries; tables are padded to padded_vocabulary()
  bool tie_embeddings = true;
  int64_t head_chunk_tokens = 128;  // rows of logits that exist at once; part of the definition, not of the plan
  double rope_theta = 10000.0;      // llama only

  int64_t padded_vocabulary() const { return (vocabulary + 63) / 64 * 64; }
  int64_t head_width() const { return width / heads; }

  // Fills the derived values and checks all of them. Throws InvalidSetting with a key under "model.".
  ModelConfig resolved() const;
};

const char* name_of(Family family);

}  // namespace reprise
