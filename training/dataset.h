#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "training/file_system.h"

namespace reprise {

// A directory of data holds, for each split, token shards, and dataset.json if `reprise data prepare` made it.
//
// dataset.json: {"format": "reprise.dataset/1", "state": "complete", and the fields below}. While a directory is being
// prepared the state is "preparing", so that what an interrupted preparation leaves behind is never taken for whole.
struct DatasetInfo {
  std::string tokenizer = "bytes";  // or "tokenizer.json", which lies beside it; "none": not known
  int64_t vocabulary = 257;         // 0: not known
  int64_t train_tokens = 0, validation_tokens = 0, documents = 0;  // tokens 0: not known
  double bytes_per_token = 1.0;                                    // of the validation split
};

constexpr int64_t kMostVocabulary = int64_t{1} << 20;

// Without dataset.json: neither tokenizer nor vocabulary is known when the validation split has other names than ours,
// else the defaults. DataError when it is damaged, of another format, or says that the preparation did not end.
DatasetInfo read_dataset_info(const std::string& directory);

// Both write durably and throw StorageError.
void write_dataset_info(const std::string& directory, const DatasetInfo& info);
void mark_dataset_preparing(const std::string& directory);

// Token shards, little-endian, of three kinds:
// - llm.c's: 256 int32 of header (magic 20240520, version 1, token count, zeros), then uint16 tokens; ours, too
// - llm.c's for Llama 3: magic 20240801, version 7, and uint32 tokens; ours for vocabularies above 65,536
// - nanoGPT's: train.bin and val.bin, uint16 tokens and nothing else

// The files of a split ("train", "validation") in name order. With dataset.json: DIRECTORY/<split>_*.bin. Without:
// every *.bin whose name's last part of these, between underscores, is the split: train; validation or val. So
// fineweb_val_000000.bin, train.bin. Throws DataError when the directory cannot be listed.
std::vector<std::string> shard_paths(const std::string& directory, const std::string& split);

// One shard, memory-mapped read-only. Throws DataError that names the file when it is missing, truncated, of another
// kind, or empty. Any thread may read.
class ShardFile {
 public:
  explicit ShardFile(std::string path);
  int64_t size() const { return size_; }  // in tokens
  // Tokens first … first + count - 1, which must exist; throws DataError with file and token index at a token ≥
  // vocabulary.
  void read(int64_t first, int64_t count, int64_t vocabulary, int64_t* out) const;
  const std::string& path() const { return path_; }
  std::string format() const;  // for people

 private:
  std::string path_;
  torch::Tensor bytes_;
  size_t header_bytes_ = 0, token_bytes_ = sizeof(uint16_t);
  int64_t size_ = 0;
};

// Writes DIRECTORY/<split>_000000.bin, _000001.bin, … of at most `most_tokens` each, durably; tokens are below
// `vocabulary`. Throws StorageError. A writer destroyed before finish() leaves only shards that were already full.
class ShardWriter {
 public:
  ShardWriter(std::string directory, std::string split, int64_t vocabulary, int64_t most_tokens = 100'000'000);
  void write(std::span<const uint32_t> tokens);
  void finish() {
    if (file_) close_shard();
  }
  int64_t tokens() const { return tokens_; }

 private:
  void close_shard();

  const std::string directory_, split_;
  const bool is_wide_;
  const int64_t most_tokens_;
  int64_t tokens_ = 0, shard_tokens_ = 0;
  int shards_ = 0;
  std::optional<DurableFile> file_;
};

}  // namespace reprise
