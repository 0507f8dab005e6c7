#pragma once

#include <cstdint>
#include <string>

namespace reprise {

enum class Family { gpt2, llama, postnorm };

// The mathematics of a model. Zero means "derive": kv_heads = heads, feed_forward = the family's usual multiple
// (gpt2, postnorm: 4·width; llama: 8/3·width rounded up to a multiple of 64).
struct ModelConfig {
  Family family = Family::gpt2;
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
