#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "training/durable_file.h"

namespace reprise {

// A prepared directory holds dataset.json and, for each split, token shards.
//
// dataset.json: {"format": "reprise.dataset/1", "state": "complete", and the fields below}. While a directory is being
// prepared the state is "preparing", so that what an interrupted preparation leaves behind is never taken for whole.
struct DatasetInfo {
  std::string tokenizer = "bytes";
  int64_t vocabulary = 257;
  int64_t train_tokens = 0, validation_tokens = 0, documents = 0;  // tokens 0: not known
  double bytes_per_token = 1.0;                                    // of the validation split
};

// Defaults when dataset.json is absent (shards made by another program); DataError when it is damaged, of another
// format, or says that the preparation did not end.
DatasetInfo read_dataset_info(const std::string& directory);

// Both write durably and throw StorageError.
void write_dataset_info(const std::string& directory, const DatasetInfo& info);
void mark_dataset_preparing(const std::string& directory);

// A token shard: 256 int32 of header (magic 20240520, version 1, token count, zeros), then the tokens as uint16,
// little-endian.

// Every DIRECTORY/<split>_*.bin in name order. Throws DataError when the directory cannot be listed.
std::vector<std::string> shard_paths(const std::string& directory, const std::string& split);

// One shard, memory-mapped read-only. Throws DataError that names the file when it is missing, truncated, of another
// kind, or empty. Spans hold as long as it lives.
class ShardFile {
 public:
  explicit ShardFile(std::string path);
  std::span<const uint16_t> tokens() const& { return tokens_; }
  std::span<const uint16_t> tokens() && = delete;
  // The same or a part; throws DataError with file and token index at a token ≥ vocabulary.
  std::span<const uint16_t> tokens_below(int64_t vocabulary, size_t first = 0,
                                         size_t count = std::dynamic_extent) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  torch::Tensor bytes_;
  std::span<const uint16_t> tokens_;
};

// Writes DIRECTORY/<split>_000000.bin, _000001.bin, … of at most `most_tokens` each, durably. Throws StorageError. A
// writer destroyed before finish() leaves only shards that were already full.
class ShardWriter {
 public:
  ShardWriter(std::string directory, std::string split, int64_t most_tokens = 100'000'000);
  void write(std::span<const uint16_t> tokens);
  void finish();
  int64_t tokens() const { return tokens_; }

 private:
  void flush();
  void close_shard();

  const std::string directory_, split_;
  const int64_t most_tokens_;
  int64_t tokens_ = 0, shard_tokens_ = 0;
  int shards_ = 0;
  std::vector<uint16_t> buffer_;  // not yet in the file, counted in shard_tokens_
  std::optional<DurableFile> file_;
};

}  // namespace reprise
