#include "training/prepare.h"

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <future>
#include <numeric>
#include <optional>
#include <thread>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "training/errors.h"
#include "training/file_system.h"
#include "training/input_file.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

constexpr int64_t kHeldOutShare = 20;  // one part in so many

struct Document {
  int64_t bytes = 0;
  uint64_t hash = 0;  // XXH3-64 of the text
  bool operator==(const Document&) const = default;
};

// What of each document is held out.
class HeldOut {
 public:
  explicit HeldOut(const std::vector<Document>& documents) {
    std::vector<uint64_t> hashes;
    for (const Document& document : documents) hashes.push_back(document.hash);
    std::sort(hashes.begin(), hashes.end());
    hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
    const size_t held_out = hashes.size() / kHeldOutShare;
    if (held_out > 0) largest_ = hashes[held_out - 1];
  }
  // So many bytes of a document train, its first ones; the others validate.
  int64_t train_bytes(const Document& document) const {
    if (!largest_) return document.bytes - document.bytes / kHeldOutShare;
    return document.hash <= *largest_ ? 0 : document.bytes;
  }

 private:
  std::optional<uint64_t> largest_;  // hash of those that are held out whole; none when they are too few for that
};

// A block and what a thread makes of it.
struct Result {
  Block block;
  BlockText seen;
  std::vector<Document> documents;              // of lines
  std::array<std::vector<uint32_t>, 2> tokens;  // training, validation
  int64_t validation_bytes = 0;
  Encoder::Place end;
};

class Preparation {
 public:
  Preparation(const std::vector<std::string>& files, const Tokenizer& tokenizer, const ShowProgress& progress,
              const PrepareSetting& setting)
      : setting_(setting),
        progress_(progress),
        corpus_(files, setting.format, setting.block_bytes),
        total_bytes_(2 * std::accumulate(corpus_.bytes().begin(), corpus_.bytes().end(), int64_t{0})),
        vocabulary_(tokenizer.vocabulary()),
        end_of_document_(static_cast<uint32_t>(tokenizer.end_of_document())),
        joiner_(tokenizer) {
    const auto processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int i = 0; i < (setting.threads > 0 ? setting.threads : processors); ++i) encoders_.emplace_back(tokenizer);
    XXH3_64bits_reset(&hash_);
  }

  // The first pass: which documents there are, and so what is held out.
  void look_through() {
    std::vector<Document> of_file(corpus_.files().size());
    const auto look = [&](Encoder&, Result& result) {
      if (result.block.is_lines) each_line(result, [](const std::string&, const Document&) {});
    };
    each_block(corpus_.bytes(), look, [&](const Result& result) {
      each_document(result, [&](const Document& document) {
        documents_.push_back(document);
        of_file[result.block.file] = document;  // of a whole file the only one
      });
    });
    held_out_.emplace(documents_);
    for (const Document& document : of_file) cuts_.push_back(held_out_->train_bytes(document));
    int64_t train = 0, all = 0;
    for (const Document& document : documents_) {
      train += held_out_->train_bytes(document);
      all += document.bytes;
    }
    if (train > 0 && train < all) return;
    throw DataError("too little text: with fewer than 20 different documents one must have at least 20 bytes");
  }

  // The second pass.
  DatasetInfo write(const std::string& directory) {
    ShardWriter train(directory, "train", vocabulary_, setting_.shard_tokens);
    ShardWriter validation(directory, "validation", vocabulary_, setting_.shard_tokens);
    int64_t validation_bytes = 0;
    size_t count = 0;
    const auto work = [&](Encoder& encoder, Result& result) {
      result.block.is_lines ? encode_lines(encoder, result) : encode_part(encoder, guess(result), result);
    };
    each_block(cuts_, work, [&](Result& result) {
      if (!result.block.is_lines) join(result);
      train.write(result.tokens[0]);
      validation.write(result.tokens[1]);
      validation_bytes += result.validation_bytes;
      each_document(result, [&](const Document& document) {
        if (count == documents_.size() || documents_[count++] != document) changed();
      });
    });
    for (size_t file = 0; file < corpus_.files().size(); ++file) {
      if (file_bytes(corpus_.files()[file]) != corpus_.bytes()[file]) changed();
    }
    if (count != documents_.size()) changed();
    train.finish();
    validation.finish();
    return {.vocabulary = vocabulary_,
            .train_tokens = train.tokens(),
            .validation_tokens = validation.tokens(),
            .documents = std::ssize(documents_),
            .bytes_per_token = static_cast<double>(validation_bytes) / static_cast<double>(validation.tokens())};
  }

 private:
  [[noreturn]] static void changed() { throw DataError("the files changed while they were being prepared"); }

  // Hands every block to `work` on a thread, and then, in their order, to `consume` on this one. While as many as there
  // are threads are worked on, those before them are consumed.
  template <class Work, class Consume>
  void each_block(const std::vector<int64_t>& cuts, const Work& work, const Consume& consume) {
    const std::vector<Block> blocks = corpus_.blocks(cuts);
    auto next = blocks.begin();
    const auto start = [&] {
      std::vector<std::future<Result>> running;
      for (Encoder& encoder : encoders_) {
        if (next == blocks.end()) break;
        running.push_back(std::async(std::launch::async, [this, &encoder, &work, block = *next++] {
          Result result{block, corpus_.read(block)};
          work(encoder, result);
          return result;
        }));
      }
      return running;
    };
    for (std::vector<std::future<Result>> running = start(); !running.empty();) {
      std::vector<Result> results;
      for (std::future<Result>& result : running) results.push_back(result.get());
      running = start();
      for (Result& result : results) {
        consume(result);
        done_bytes_ += result.block.end - result.block.begin;
        if (progress_) progress_(done_bytes_, total_bytes_);
      }
    }
  }

  // Visits the documents of lines: (text, document).
  template <class Visit>
  void each_line(Result& result, const Visit& visit) const {
    const auto& [text, first, stop] = result.seen;
    const int64_t base = std::max<int64_t>(0, result.block.begin - 1);
    for (size_t at = first; at < stop;) {
      const size_t end = std::min(text.find('\n', at), stop), begin = std::exchange(at, end + 1);
      const std::string line = text.substr(begin, end - begin);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const std::string content =
          corpus_.text_of_line(line, setting_.field, result.block.file, base + static_cast<int64_t>(begin));
      if (content.empty()) continue;
      result.documents.push_back({std::ssize(content), XXH3_64bits(content.data(), content.size())});
      visit(content, result.documents.back());
    }
  }

  // Visits the documents that end with a block.
  template <class Visit>
  void each_document(const Result& result, const Visit& visit) {
    for (const Document& document : result.documents) visit(document);
    const auto& [text, first, stop] = result.seen;
    if (result.block.is_lines) return;
    XXH3_64bits_update(&hash_, text.data() + first, stop - first);
    if (result.block.end != corpus_.bytes()[result.block.file]) return;
    visit({result.block.end, XXH3_64bits_digest(&hash_)});
    XXH3_64bits_reset(&hash_);
  }

  void encode_lines(Encoder& encoder, Result& result) const {
    each_line(result, [&](const std::string& text, const Document& document) {
      const size_t cut = character_begin(text, static_cast<size_t>(held_out_->train_bytes(document)));
      for (const auto& [part, split] : {std::pair(text.substr(0, cut), 0), std::pair(text.substr(cut), 1)}) {
        if (part.empty()) continue;
        encoder.encode(part, part.size(), {}, result.tokens[split]);
        result.tokens[split].push_back(end_of_document_);
        if (split == 1) result.validation_bytes += std::ssize(part);
      }
    });
  }

  static Encoder::Place guess(const Result& result) {
    return {result.seen.first, result.block.begin == result.block.text_begin};
  }

  void encode_part(Encoder& encoder, Encoder::Place from, Result& result) const {
    const Block& block = result.block;
    const bool is_train = block.text_begin == 0 && cuts_[block.file] > 0;
    std::vector<uint32_t>& tokens = result.tokens[is_train ? 0 : 1];
    tokens.clear();
    result.end = encoder.encode(result.seen.text, result.seen.stop, from, tokens);
    if (block.end == block.text_end) tokens.push_back(end_of_document_);
    result.validation_bytes = is_train ? 0 : static_cast<int64_t>(result.seen.stop - result.seen.first);
  }

  // A block is tokenized as if a word began with it. Where the last word of the one before ends elsewhere, once more.
  void join(Result& result) {
    const Encoder::Place guessed = guess(result);
    Encoder::Place place = guessed;
    if (!guessed.begins) place = {guessed.offset + beyond_, begins_};
    if (place != guessed) encode_part(joiner_, place, result);
    beyond_ = result.end.offset - result.seen.stop;
    begins_ = result.end.begins;
  }

  const PrepareSetting& setting_;
  const ShowProgress& progress_;
  const Corpus corpus_;
  const int64_t total_bytes_, vocabulary_;
  const uint32_t end_of_document_;
  Encoder joiner_;
  std::deque<Encoder> encoders_;  // one a thread
  std::vector<Document> documents_;
  std::optional<HeldOut> held_out_;
  std::vector<int64_t> cuts_;  // by file: so many bytes train
  XXH3_state_t hash_;          // of the whole file being read
  size_t beyond_ = 0;          // bytes of the next block that are in words of this one
  bool begins_ = true;
  int64_t done_bytes_ = 0;
};

}  // namespace

DatasetInfo prepare_data(const std::vector<std::string>& files, const std::string& directory,
                         const std::string& tokenizer, const ShowProgress& progress, const PrepareSetting& setting) {
  Preparation preparation(files, Tokenizer(tokenizer), progress, setting);
  preparation.look_through();

  std::filesystem::create_directories(directory);
  mark_dataset_preparing(directory);
  for (const std::string& name : Disk().list(directory)) {
    const bool is_shard = name.ends_with(".bin") || name.find(".bin.tmp.") != std::string::npos;
    const bool is_of_split = name.starts_with("train_") || name.starts_with("validation_");
    if (is_shard && is_of_split) std::filesystem::remove(directory + "/" + name);
  }
  const std::string name = copy_tokenizer(tokenizer, directory);
  DatasetInfo info = preparation.write(directory);
  info.tokenizer = name;
  write_dataset_info(directory, info);
  return info;
}

}  // namespace reprise
