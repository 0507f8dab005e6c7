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

using Header = std::array<int32_t, 256>;  // magic, version, token count, zeros
struct Kind {
  int32_t magic, version;
  size_t token_bytes;
};
constexpr Kind kNarrow{20240520, 1, sizeof(uint16_t)}, kWide{20240801, 7, sizeof(uint32_t)};

std::string path_in(const std::string& directory) { return directory + "/dataset.json"; }
std::string name_of(const std::string& path) { return std::filesystem::path(path).filename().string(); }

// "train", "validation", or "" for neither.
std::string split_of(const std::string& name, bool is_ours) {
  if (!name.ends_with(".bin")) return "";
  std::string left = "_" + name.substr(0, name.size() - 4);
  if (is_ours) return left.starts_with("_train_") ? "train" : left.starts_with("_validation_") ? "validation" : "";
  for (size_t at; (at = left.rfind('_')) != std::string::npos; left.resize(at)) {
    const std::string word = left.substr(at + 1);
    if (word == "train") return word;
    if (word == "val" || word == "validation") return "validation";
  }
  return "";
}

}  // namespace

DatasetInfo read_dataset_info(const std::string& directory) {
  const std::string path = path_in(directory);
  DatasetInfo info;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    const std::vector<std::string> shards = shard_paths(directory, "validation");
    const auto is_foreign = [](const std::string& shard) { return !name_of(shard).starts_with("validation_"); };
    if (std::any_of(shards.begin(), shards.end(), is_foreign)) return {.tokenizer = "none", .vocabulary = 0};
    return info;
  }
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
  const bool is_ours = std::filesystem::exists(path_in(directory));
  try {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (split_of(entry.path().filename().string(), is_ours) == split) paths.push_back(entry.path().string());
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw DataError(directory + ": cannot be listed: " + error.code().message());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

ShardFile::ShardFile(std::string path) : path_(std::move(path)), bytes_(map_file(path_, Access::read_only)) {
  Header header{};
  std::memcpy(header.data(), bytes_.const_data_ptr(), std::min(bytes_.nbytes(), sizeof(Header)));
  const int32_t magic = header[0], version = header[1], count = header[2];
  const bool is_known = magic == kNarrow.magic || magic == kWide.magic;
  if (!is_known && (name_of(path_) == "train.bin" || name_of(path_) == "val.bin")) {
    if (bytes_.nbytes() == 0 || bytes_.nbytes() % token_bytes_ != 0) {
      throw DataError(fmt::format("{}: expected uint16 tokens without a header, got {} bytes", path_, bytes_.nbytes()));
    }
    size_ = static_cast<int64_t>(bytes_.nbytes() / token_bytes_);
    return;
  }
  const Kind kind = magic == kWide.magic ? kWide : kNarrow;
  if (bytes_.nbytes() < sizeof(Header)) throw DataError(path_ + ": is too short for a token shard");
  if (!is_known) throw DataError(fmt::format("{}: is not a token shard (magic {})", path_, magic));
  if (version != kind.version) {
    throw DataError(fmt::format("{}: version {}, expected {}", path_, version, kind.version));
  }
  if (count <= 0) throw DataError(fmt::format("{}: holds no tokens (count {})", path_, count));
  header_bytes_ = sizeof(Header);
  token_bytes_ = kind.token_bytes;
  size_ = count;
  const size_t expected = header_bytes_ + token_bytes_ * static_cast<size_t>(count);
  if (bytes_.nbytes() != expected) {
    throw DataError(fmt::format("{}: has {} bytes, its header promises {}", path_, bytes_.nbytes(), expected));
  }
}

std::string ShardFile::format() const {
  return fmt::format("uint{}{}", 8 * token_bytes_, header_bytes_ == 0 ? " without header (nanoGPT)" : " (llm.c)");
}

void ShardFile::read(int64_t first, int64_t count, int64_t vocabulary, int64_t* out) const {
  const auto copy = [&]<class Token>(Token) {
    std::copy_n(reinterpret_cast<const Token*>(bytes_.const_data_ptr<uint8_t>() + header_bytes_) + first, count, out);
  };
  token_bytes_ == sizeof(uint16_t) ? copy(uint16_t{}) : copy(uint32_t{});
  const int64_t* beyond = std::find_if(out, out + count, [&](int64_t token) { return token >= vocabulary; });
  if (beyond == out + count) return;
  throw DataError(fmt::format("{}: token {} is {}, but the vocabulary ends at {}", path_, first + (beyond - out),
                              *beyond, vocabulary - 1));
}

ShardWriter::ShardWriter(std::string directory, std::string split, int64_t vocabulary, int64_t most_tokens)
    : directory_(std::move(directory)),
      split_(std::move(split)),
      is_wide_(vocabulary > 65536),
      most_tokens_(most_tokens) {}

void ShardWriter::write(std::span<const uint32_t> tokens) {
  while (!tokens.empty()) {
    if (!file_) {
      file_.emplace(fmt::format("{}/{}_{:06}.bin", directory_, split_, shards_++));
      file_->write(Header{}.data(), sizeof(Header));  // filled in when the count is known
    }
    const auto some = tokens.first(std::min(tokens.size(), static_cast<size_t>(most_tokens_ - shard_tokens_)));
    if (is_wide_) {
      file_->write(some.data(), some.size_bytes());
    } else {
      const std::vector<uint16_t> narrow(some.begin(), some.end());
      file_->write(narrow.data(), narrow.size() * sizeof(uint16_t));
    }
    tokens = tokens.subspan(some.size());
    tokens_ += std::ssize(some);
    shard_tokens_ += std::ssize(some);
    if (shard_tokens_ == most_tokens_) close_shard();
  }
}

void ShardWriter::close_shard() {
  const Kind kind = is_wide_ ? kWide : kNarrow;
  const Header header{kind.magic, kind.version, static_cast<int32_t>(shard_tokens_)};
  file_->overwrite(0, header.data(), sizeof(Header));
  file_->commit();
  file_.reset();
  shard_tokens_ = 0;
}

}  // namespace reprise
