#include "training/shard_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "training/errors.h"

namespace reprise {
namespace {

constexpr int32_t kMagic = 20240520;
constexpr int32_t kVersion = 1;
using Header = std::array<int32_t, 256>;  // magic, version, token count, zeros
constexpr size_t kBufferedTokens = 1 << 16;

}  // namespace

std::vector<std::string> shard_paths(const std::string& directory, const std::string& split) {
  std::vector<std::string> paths;
  try {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(split + "_") && name.ends_with(".bin")) paths.push_back(entry.path().string());
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw DataError(directory + ": cannot be listed: " + error.code().message());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

ShardFile::ShardFile(std::string path) : path_(std::move(path)), map_(path_, MappedFile::Access::read_only) {
  if (map_.size() < sizeof(Header)) throw DataError(path_ + ": is too short for a token shard");
  Header header;
  std::memcpy(header.data(), map_.data(), sizeof(Header));
  const int32_t magic = header[0], version = header[1], count = header[2];
  if (magic != kMagic) throw DataError(path_ + ": is not a token shard (magic " + std::to_string(magic) + ")");
  if (version != kVersion) throw DataError(path_ + ": version " + std::to_string(version) + ", expected 1");
  if (count <= 0) throw DataError(path_ + ": holds no tokens (count " + std::to_string(count) + ")");
  const size_t expected = sizeof(Header) + sizeof(uint16_t) * static_cast<size_t>(count);
  if (map_.size() != expected) {
    throw DataError(path_ + ": has " + std::to_string(map_.size()) + " bytes, its header promises " +
                    std::to_string(expected));
  }
  tokens_ = {reinterpret_cast<const uint16_t*>(map_.data() + sizeof(Header)), static_cast<size_t>(count)};
}

ShardWriter::ShardWriter(std::string directory, std::string split, int64_t most_tokens)
    : directory_(std::move(directory)), split_(std::move(split)), most_tokens_(most_tokens) {}

void ShardWriter::write(std::span<const uint16_t> tokens) {
  while (!tokens.empty()) {
    if (!file_) {
      char number[16];
      std::snprintf(number, sizeof number, "_%06d.bin", shards_++);
      file_.emplace((std::filesystem::path(directory_) / (split_ + number)).string());
      file_->write(Header{}.data(), sizeof(Header));  // filled in when the count is known
    }
    const size_t count =
        std::min({tokens.size(), static_cast<size_t>(most_tokens_ - shard_tokens_), kBufferedTokens - buffer_.size()});
    buffer_.insert(buffer_.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
    tokens = tokens.subspan(count);
    tokens_ += static_cast<int64_t>(count);
    shard_tokens_ += static_cast<int64_t>(count);
    if (buffer_.size() == kBufferedTokens) flush();
    if (shard_tokens_ == most_tokens_) close_shard();
  }
}

void ShardWriter::finish() {
  if (file_) close_shard();
}

void ShardWriter::flush() {
  file_->write(buffer_.data(), buffer_.size() * sizeof(uint16_t));
  buffer_.clear();
}

void ShardWriter::close_shard() {
  flush();
  const Header header{kMagic, kVersion, static_cast<int32_t>(shard_tokens_)};
  file_->overwrite(0, header.data(), sizeof(Header));
  file_->commit();
  file_.reset();
  shard_tokens_ = 0;
}

}  // namespace reprise
