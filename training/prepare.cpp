#include "training/prepare.h"

#include <algorithm>
#include <filesystem>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "training/documents.h"
#include "training/errors.h"
#include "training/shard_file.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

constexpr int64_t kHeldOutShare = 20;  // one part in so many

struct Document {
  int64_t bytes = 0;
  uint64_t hash = 0;  // XXH3-64 of the text
};

// The files of one preparation, read as one stream of documents.
class Corpus {
 public:
  Corpus(const std::vector<std::string>& files, const Progress& progress) : files_(files), progress_(progress) {
    for (const std::string& file : files) total_bytes_ += 2 * document_file_bytes(file);
  }

  void read(const std::function<void(std::string_view)>& piece, const std::function<void()>& end) {
    const auto advance = [this](int64_t bytes) {
      done_bytes_ += bytes;
      if (progress_) progress_(done_bytes_, total_bytes_);
    };
    for (const std::string& file : files_) read_documents(file, {piece, end, advance});
  }

 private:
  const std::vector<std::string>& files_;
  const Progress& progress_;
  int64_t done_bytes_ = 0, total_bytes_ = 0;
};

std::vector<Document> look_through(Corpus& corpus) {
  std::vector<Document> documents;
  Document current;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  corpus.read(
      [&](std::string_view text) {
        XXH3_64bits_update(&state, text.data(), text.size());
        current.bytes += static_cast<int64_t>(text.size());
      },
      [&] {
        current.hash = XXH3_64bits_digest(&state);
        documents.push_back(current);
        current = {};
        XXH3_64bits_reset(&state);
      });
  return documents;
}

// Decides which bytes of a document train: those before train_bytes(); the others validate.
class Split {
 public:
  explicit Split(const std::vector<Document>& documents) {
    std::vector<uint64_t> hashes;
    for (const Document& document : documents) hashes.push_back(document.hash);
    std::sort(hashes.begin(), hashes.end());
    hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
    held_out_ = hashes.size() / kHeldOutShare;
    if (held_out_ > 0) largest_held_out_hash_ = hashes[held_out_ - 1];
  }

  int64_t train_bytes(const Document& document) const {
    if (held_out_ == 0) return document.bytes - document.bytes / kHeldOutShare;
    return document.hash <= largest_held_out_hash_ ? 0 : document.bytes;
  }

 private:
  size_t held_out_ = 0;
  uint64_t largest_held_out_hash_ = 0;
};

// Writes the second reading of the documents into the two splits.
class Writer {
 public:
  Writer(const std::vector<Document>& documents, const std::string& directory, const Tokenizer& tokenizer)
      : documents_(documents),
        split_(documents),
        tokenizer_(tokenizer),
        end_of_document_(static_cast<uint16_t>(tokenizer.end_of_document())),
        train_(directory, "train"),
        validation_(directory, "validation") {}

  // True when both splits get at least one token.
  bool has_both_splits() const {
    const auto trains = [&](const Document& document) { return split_.train_bytes(document) > 0; };
    const auto validates = [&](const Document& document) { return split_.train_bytes(document) < document.bytes; };
    return std::any_of(documents_.begin(), documents_.end(), trains) &&
           std::any_of(documents_.begin(), documents_.end(), validates);
  }

  void piece(std::string_view text) {
    if (index_ == documents_.size()) changed();
    const int64_t left_to_train = std::max<int64_t>(split_.train_bytes(documents_[index_]) - position_, 0);
    const std::string_view train = text.substr(0, static_cast<size_t>(left_to_train));
    train_.write(tokenizer_.encode(train));
    validation_.write(tokenizer_.encode(text.substr(train.size())));
    position_ += static_cast<int64_t>(text.size());
  }

  void end_document() {
    const Document& document = documents_[index_++];
    if (position_ != document.bytes) changed();
    const int64_t train_bytes = split_.train_bytes(document);
    if (train_bytes > 0) train_.write({&end_of_document_, 1});
    if (train_bytes < document.bytes) validation_.write({&end_of_document_, 1});
    validation_bytes_ += document.bytes - train_bytes;
    position_ = 0;
  }

  DatasetInfo finish() {
    if (index_ != documents_.size()) changed();
    train_.finish();
    validation_.finish();
    return {.tokenizer = tokenizer_.name(),
            .vocabulary = tokenizer_.vocabulary(),
            .train_tokens = train_.tokens(),
            .validation_tokens = validation_.tokens(),
            .documents = static_cast<int64_t>(documents_.size()),
            .bytes_per_token = static_cast<double>(validation_bytes_) / static_cast<double>(validation_.tokens())};
  }

 private:
  [[noreturn]] static void changed() { throw DataError("the files changed while they were being prepared"); }

  const std::vector<Document>& documents_;
  const Split split_;
  const Tokenizer& tokenizer_;
  const uint16_t end_of_document_;
  ShardWriter train_, validation_;
  size_t index_ = 0;      // document being read
  int64_t position_ = 0;  // bytes of it already written
  int64_t validation_bytes_ = 0;
};

void remove_shards(const std::string& directory) {
  for (const char* split : {"train", "validation"}) {
    for (const std::string& path : shard_paths(directory, split)) {
      std::error_code error;
      if (!std::filesystem::remove(path, error) && error) {
        throw StorageError("cannot remove " + path + ": " + error.message());
      }
    }
  }
}

}  // namespace

DatasetInfo prepare_data(const std::vector<std::string>& files, const std::string& directory,
                         const std::string& tokenizer_name, const Progress& progress) {
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(tokenizer_name);
  Corpus corpus(files, progress);
  const std::vector<Document> documents = look_through(corpus);
  Writer writer(documents, directory, *tokenizer);
  if (!writer.has_both_splits()) {
    throw DataError("too little text: with fewer than 20 different documents one must have at least 20 bytes");
  }

  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw StorageError("cannot create " + directory + ": " + error.message());
  mark_dataset_preparing(directory);
  remove_shards(directory);
  corpus.read([&](std::string_view text) { writer.piece(text); }, [&] { writer.end_document(); });
  const DatasetInfo info = writer.finish();
  write_dataset_info(directory, info);
  return info;
}

}  // namespace reprise
