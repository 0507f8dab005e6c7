#include "training/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "monitoring/json_text.h"
#include "training/errors.h"
#include "training/input_file.h"

namespace reprise {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DatasetInfo, tokenizer, vocabulary, train_tokens, validation_tokens, documents,
                                   bytes_per_token)

namespace {

constexpr const char* kFormat = "reprise.dataset/1";
constexpr const char* kComplete = "complete";
constexpr const char* kPreparing = "preparing";
constexpr int64_t kMostVocabulary = 65536;  // tokens are 16 bits wide

constexpr int32_t kMagic = 20240520;
constexpr int32_t kVersion = 1;
using Header = std::array<int32_t, 256>;  // magic, version, token count, zeros
constexpr size_t kBufferedTokens = 1 << 16;

std::string path_in(const std::string& directory) { return directory + "/dataset.json"; }

}  // namespace

DatasetInfo read_dataset_info(const std::string& directory) {
  const std::string path = path_in(directory);
  DatasetInfo info;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return info;
  std::ifstream stream(path);
  try {
    const nlohmann::json json = nlohmann::json::parse(stream);
    if (json.at("format") != kFormat) throw DataError(path + ": format is not " + kFormat);
    if (json.at("state") == kPreparing) {
      throw DataError(path + ": the preparation of this directory did not end; prepare it again");
    }
    json.get_to(info);
    if (json.at("state") != kComplete || info.vocabulary < 1 || info.vocabulary > kMostVocabulary ||
        info.train_tokens < 0 || info.validation_tokens < 0 || info.documents < 0 || !(info.bytes_per_token >= 0)) {
      throw DataError(path + ": a value is out of range");
    }
  } catch (const nlohmann::json::exception& error) {
    throw DataError(path + ": damaged: " + error.what());
  }
  return info;
}

void write_dataset_info(const std::string& directory, const DatasetInfo& info) {
  nlohmann::ordered_json json = {{"format", kFormat}, {"state", kComplete}};
  json.update(JSON_FIELDS(info.tokenizer, info.vocabulary, info.train_tokens, info.validation_tokens, info.documents,
                          info.bytes_per_token));
  write_durably(path_in(directory), json.dump(2) + "\n");
}

void mark_dataset_preparing(const std::string& directory) {
  const nlohmann::ordered_json json = {{"format", kFormat}, {"state", kPreparing}};
  write_durably(path_in(directory), json.dump(2) + "\n");
}

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

ShardFile::ShardFile(std::string path) : path_(std::move(path)), bytes_(map_file(path_, Access::read_only)) {
  if (bytes_.nbytes() < sizeof(Header)) throw DataError(path_ + ": is too short for a token shard");
  Header header;
  std::memcpy(header.data(), bytes_.const_data_ptr(), sizeof(Header));
  const int32_t magic = header[0], version = header[1], count = header[2];
  if (magic != kMagic) throw DataError(fmt::format("{}: is not a token shard (magic {})", path_, magic));
  if (version != kVersion) throw DataError(fmt::format("{}: version {}, expected {}", path_, version, kVersion));
  if (count <= 0) throw DataError(fmt::format("{}: holds no tokens (count {})", path_, count));
  const size_t expected = sizeof(Header) + sizeof(uint16_t) * static_cast<size_t>(count);
  if (bytes_.nbytes() != expected) {
    throw DataError(fmt::format("{}: has {} bytes, its header promises {}", path_, bytes_.nbytes(), expected));
  }
  const auto* first = bytes_.const_data_ptr<uint8_t>() + sizeof(Header);
  tokens_ = {reinterpret_cast<const uint16_t*>(first), static_cast<size_t>(count)};
}

std::span<const uint16_t> ShardFile::tokens_below(int64_t vocabulary, size_t first, size_t count) const {
  const std::span<const uint16_t> some = tokens_.subspan(first, count);
  const auto beyond = std::find_if(some.begin(), some.end(), [&](uint16_t token) { return token >= vocabulary; });
  if (beyond == some.end()) return some;
  throw DataError(fmt::format("{}: token {} is {}, but the vocabulary ends at {}", path_,
                              first + static_cast<size_t>(beyond - some.begin()), *beyond, vocabulary - 1));
}

ShardWriter::ShardWriter(std::string directory, std::string split, int64_t most_tokens)
    : directory_(std::move(directory)), split_(std::move(split)), most_tokens_(most_tokens) {}

void ShardWriter::write(std::span<const uint16_t> tokens) {
  while (!tokens.empty()) {
    if (!file_) {
      file_.emplace(fmt::format("{}/{}_{:06}.bin", directory_, split_, shards_++));
      file_->write(Header{}.data(), sizeof(Header));  // filled in when the count is known
    }
    const auto some = tokens.first(std::min(tokens.size(), static_cast<size_t>(most_tokens_ - shard_tokens_)));
    buffer_.insert(buffer_.end(), some.begin(), some.end());
    tokens = tokens.subspan(some.size());
    tokens_ += std::ssize(some);
    shard_tokens_ += std::ssize(some);
    if (buffer_.size() >= kBufferedTokens) flush();
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
