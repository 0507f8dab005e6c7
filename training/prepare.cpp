#include "training/prepare.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "training/dataset.h"
#include "training/durable_file.h"
#include "training/errors.h"
#include "training/input_file.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

constexpr int64_t kHeldOutShare = 20;  // one part in so many

struct Document {
  int64_t bytes = 0;
  uint64_t hash = 0;  // XXH3-64 of the text
};

// A document comes in one or more pieces; `ends` with the last, which may be empty.
using Visitor = std::function<void(std::string_view text, bool ends)>;

std::string text_of_line(const std::string& file, int64_t number, const std::string& line) {
  const std::string where = file + ":" + std::to_string(number) + ": ";
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (!json.contains("text") || !json["text"].is_string()) {
      throw DataError(where + "expected an object with a string \"text\"");
    }
    return json["text"].get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    throw DataError(where + "is not JSON: " + error.what());
  }
}

// The files of one preparation, read twice as one stream of documents. A document is a whole file or, of *.jsonl, the
// string under "text" of a line that is not blank; those without text are passed over.
class Corpus {
 public:
  Corpus(const std::vector<std::string>& files, const Progress& progress) : files_(files), progress_(progress) {
    for (const std::string& file : files) total_bytes_ += 2 * file_bytes(file);
  }

  void read(const Visitor& visit) {
    for (const std::string& file : files_) {
      std::ifstream stream(file, std::ios::binary);
      if (file.ends_with(".jsonl")) {
        read_json_lines(file, stream, visit);
      } else {
        read_whole(stream, visit);
      }
      if (!stream.eof()) throw DataError(file + ": cannot be read: " + std::strerror(errno));
    }
  }

 private:
  void read_whole(std::ifstream& stream, const Visitor& visit) {
    std::vector<char> buffer(1 << 20);
    bool has_text = false;
    while (stream.good()) {
      stream.read(buffer.data(), std::ssize(buffer));
      if (stream.gcount() == 0) break;
      has_text = true;
      visit({buffer.data(), static_cast<size_t>(stream.gcount())}, false);
      advance(stream.gcount());
    }
    if (has_text && stream.eof()) visit({}, true);
  }

  void read_json_lines(const std::string& file, std::ifstream& stream, const Visitor& visit) {
    std::string line;
    for (int64_t number = 1; std::getline(stream, line); ++number) {
      advance(std::ssize(line) + (stream.eof() ? 0 : 1));
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const std::string text = text_of_line(file, number, line);
      if (!text.empty()) visit(text, true);
    }
  }

  void advance(int64_t bytes) {
    done_bytes_ += bytes;
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  const std::vector<std::string>& files_;
  const Progress& progress_;
  int64_t done_bytes_ = 0, total_bytes_ = 0;
};

std::vector<Document> look_through(Corpus& corpus) {
  std::vector<Document> documents;
  Document current;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  corpus.read([&](std::string_view text, bool ends) {
    XXH3_64bits_update(&state, text.data(), text.size());
    current.bytes += std::ssize(text);
    if (!ends) return;
    current.hash = XXH3_64bits_digest(&state);
    documents.push_back(current);
    current = {};
    XXH3_64bits_reset(&state);
  });
  return documents;
}

// The largest hash of the documents that are held out whole; none when they are too few for that.
std::optional<uint64_t> largest_held_out(const std::vector<Document>& documents) {
  std::vector<uint64_t> hashes;
  for (const Document& document : documents) hashes.push_back(document.hash);
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  const size_t held_out = hashes.size() / kHeldOutShare;
  return held_out > 0 ? std::optional(hashes[held_out - 1]) : std::nullopt;
}

// Writes the second reading of the documents into the two splits.
class Writer {
 public:
  Writer(const std::vector<Document>& documents, const std::string& directory, const Tokenizer& tokenizer)
      : documents_(documents),
        largest_held_out_(largest_held_out(documents)),
        tokenizer_(tokenizer),
        end_of_document_(static_cast<uint16_t>(tokenizer.end_of_document())),
        train_(directory, "train"),
        validation_(directory, "validation") {}

  // True when both splits get at least one token.
  bool has_both_splits() const {
    const auto trains = [&](const Document& document) { return train_bytes(document) > 0; };
    const auto validates = [&](const Document& document) { return train_bytes(document) < document.bytes; };
    return std::any_of(documents_.begin(), documents_.end(), trains) &&
           std::any_of(documents_.begin(), documents_.end(), validates);
  }

  void write(std::string_view text, bool ends) {
    if (index_ == documents_.size()) changed();
    const Document& document = documents_[index_];
    const int64_t of_train = train_bytes(document);
    const std::string_view train = text.substr(0, static_cast<size_t>(std::max<int64_t>(of_train - position_, 0)));
    train_.write(tokenizer_.encode(train));
    validation_.write(tokenizer_.encode(text.substr(train.size())));
    position_ += std::ssize(text);
    if (!ends) return;

    if (position_ != document.bytes) changed();
    if (of_train > 0) train_.write({&end_of_document_, 1});
    if (of_train < document.bytes) validation_.write({&end_of_document_, 1});
    validation_bytes_ += document.bytes - of_train;
    position_ = 0;
    ++index_;
  }

  DatasetInfo finish() {
    if (index_ != documents_.size()) changed();
    train_.finish();
    validation_.finish();
    return {.tokenizer = tokenizer_.name(),
            .vocabulary = tokenizer_.vocabulary(),
            .train_tokens = train_.tokens(),
            .validation_tokens = validation_.tokens(),
            .documents = std::ssize(documents_),
            .bytes_per_token = static_cast<double>(validation_bytes_) / static_cast<double>(validation_.tokens())};
  }

 private:
  [[noreturn]] static void changed() { throw DataError("the files changed while they were being prepared"); }

  // So many bytes of a document train, its first ones; the others validate.
  int64_t train_bytes(const Document& document) const {
    if (!largest_held_out_) return document.bytes - document.bytes / kHeldOutShare;
    return document.hash <= *largest_held_out_ ? 0 : document.bytes;
  }

  const std::vector<Document>& documents_;
  const std::optional<uint64_t> largest_held_out_;
  const Tokenizer& tokenizer_;
  const uint16_t end_of_document_;
  ShardWriter train_, validation_;
  size_t index_ = 0;      // document being read
  int64_t position_ = 0;  // bytes of it already written
  int64_t validation_bytes_ = 0;
};

}  // namespace

DatasetInfo prepare_data(const std::vector<std::string>& files, const std::string& directory,
                         const std::string& tokenizer_name, const Progress& progress) {
  const Tokenizer tokenizer(tokenizer_name);
  Corpus corpus(files, progress);
  const std::vector<Document> documents = look_through(corpus);
  Writer writer(documents, directory, tokenizer);
  if (!writer.has_both_splits()) {
    throw DataError("too little text: with fewer than 20 different documents one must have at least 20 bytes");
  }

  make_folder(directory);
  mark_dataset_preparing(directory);
  for (const char* split : {"train", "validation"}) {
    for (const std::string& path : shard_paths(directory, split)) remove_file(path);
  }
  corpus.read([&](std::string_view text, bool ends) { writer.write(text, ends); });
  const DatasetInfo info = writer.finish();
  write_dataset_info(directory, info);
  return info;
}

}  // namespace reprise
