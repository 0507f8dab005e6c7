#include "training/dataset_info.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "training/durable_file.h"
#include "training/errors.h"

namespace reprise {
namespace {

constexpr const char* kFormat = "reprise.dataset/1";
constexpr const char* kComplete = "complete";
constexpr const char* kPreparing = "preparing";
constexpr int64_t kMostVocabulary = 65536;  // tokens are 16 bits wide

std::string path_in(const std::string& directory) {
  return (std::filesystem::path(directory) / "dataset.json").string();
}

DatasetInfo info_of(const nlohmann::json& json) {
  DatasetInfo info;
  info.tokenizer = json.at("tokenizer").get<std::string>();
  info.vocabulary = json.at("vocabulary").get<int64_t>();
  info.train_tokens = json.at("train_tokens").get<int64_t>();
  info.validation_tokens = json.at("validation_tokens").get<int64_t>();
  info.documents = json.at("documents").get<int64_t>();
  info.bytes_per_token = json.at("bytes_per_token").get<double>();
  return info;
}

}  // namespace

DatasetInfo read_dataset_info(const std::string& directory) {
  const std::string path = path_in(directory);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  std::ifstream stream(path);
  try {
    const nlohmann::json json = nlohmann::json::parse(stream);
    if (json.at("format") != kFormat) throw DataError(path + ": format is not " + kFormat);
    if (json.at("state") == kPreparing) {
      throw DataError(path + ": the preparation of this directory did not end; prepare it again");
    }
    const DatasetInfo info = info_of(json);
    if (json.at("state") != kComplete || info.vocabulary < 1 || info.vocabulary > kMostVocabulary ||
        info.train_tokens < 0 || info.validation_tokens < 0 || info.documents < 0 || !(info.bytes_per_token >= 0)) {
      throw DataError(path + ": a value is out of range");
    }
    return info;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(path + ": damaged: " + error.what());
  }
}

void write_dataset_info(const std::string& directory, const DatasetInfo& info) {
  const nlohmann::ordered_json json = {{"format", kFormat},
                                       {"state", kComplete},
                                       {"tokenizer", info.tokenizer},
                                       {"vocabulary", info.vocabulary},
                                       {"train_tokens", info.train_tokens},
                                       {"validation_tokens", info.validation_tokens},
                                       {"documents", info.documents},
                                       {"bytes_per_token", info.bytes_per_token}};
  write_durably(path_in(directory), json.dump(2) + "\n");
}

void mark_dataset_preparing(const std::string& directory) {
  const nlohmann::ordered_json json = {{"format", kFormat}, {"state", kPreparing}};
  write_durably(path_in(directory), json.dump(2) + "\n");
}

}  // namespace reprise
