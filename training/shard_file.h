#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "training/durable_file.h"
#include "training/mapped_file.h"

namespace reprise {

// A token shard: 256 int32 of header (magic 20240520, version 1, token count, zeros), then the tokens as uint16,
// little-endian.

// Every DIRECTORY/<split>_*.bin in name order. Throws DataError when the directory cannot be listed.
std::vector<std::string> shard_paths(const std::string& directory, const std::string& split);

// One shard, memory-mapped read-only. Throws DataError that names the file when it is missing, truncated, of another
// kind, or empty.
class ShardFile {
 public:
  explicit ShardFile(std::string path);
  const std::string& path() const { return path_; }
  std::span<const uint16_t> tokens() const& { return tokens_; }  // as long as this object lives
  std::span<const uint16_t> tokens() && = delete;

 private:
  std::string path_;
  MappedFile map_;
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
