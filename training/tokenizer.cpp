#include "training/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <limits>
#include <queue>
#include <sstream>
#include <tuple>

#include "training/errors.h"
#include "training/file_system.h"
#include "training/pattern.h"
#include "training/tokenizer_file.h"

namespace reprise {
namespace {

constexpr const char* kBytes = "bytes";
constexpr const char* kNone = "none";
constexpr const char* kFile = "tokenizer.json";

// One of these texts.
std::string any_of(const AddedTokens& tokens) {
  std::string expression;
  for (const auto& [text, token] : tokens) {
    expression += expression.empty() ? "" : "|";
    for (const char c : text)
      expression += (std::ispunct(static_cast<unsigned char>(c)) ? "\\" : "") + std::string(1, c);
  }
  return expression;
}

// Appends the tokens of a word: again and again the pair of lowest rank, the leftmost of equals, becomes one token.
// O(n log n) in the word's bytes.
void append_word(const TokenizerFile& file, std::string_view word, std::vector<uint32_t>& tokens) {
  if (const auto whole = file.whole.find(word); whole != file.whole.end()) return tokens.push_back(whole->second);
  constexpr uint32_t kGone = std::numeric_limits<uint32_t>::max();  // in no pair; also what is behind the last symbol
  const size_t count = word.size();
  std::vector<uint32_t> symbols(count + 1, kGone);
  std::vector<size_t> before(count + 1), after(count + 1);
  using Candidate = std::tuple<uint32_t, size_t, uint64_t, uint32_t>;  // rank, place, pair, token
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> best;
  const auto pair_at = [&](size_t left) { return TokenizerFile::pair(symbols[left], symbols[after[left]]); };
  const auto consider = [&](size_t left) {
    if (left >= count) return;
    const auto merge = file.merges.find(pair_at(left));
    if (merge != file.merges.end()) best.emplace(merge->second.rank, left, merge->first, merge->second.token);
  };
  for (size_t i = 0; i < count; ++i) {
    symbols[i] = file.bytes[static_cast<unsigned char>(word[i])];
    before[i] = i - 1;  // of the first: beyond all places
    after[i] = i + 1;
  }
  for (size_t i = 0; i < count; ++i) consider(i);
  while (!best.empty()) {
    const auto [rank, left, pair, token] = best.top();
    best.pop();
    if (pair_at(left) != pair) continue;  // one of the two is now part of another
    const size_t right = after[left];
    symbols[left] = token;
    symbols[right] = kGone;
    after[left] = after[right];
    before[after[left]] = left;
    consider(before[left]);
    consider(left);
  }
  for (size_t i = 0; i < count; i = after[i]) tokens.push_back(symbols[i]);
}

}  // namespace

Tokenizer::Tokenizer(const std::string& wanted) : source_(wanted) {
  if (wanted == kBytes) return;
  if (wanted == kNone)
    throw DataError("there is no tokenizer.json here, so the tokens cannot become text or text tokens");
  if (!wanted.ends_with(".json")) {
    throw DataError("unknown tokenizer '" + wanted + "'; there are: bytes, the path of a tokenizer.json");
  }
  file_ = std::make_shared<TokenizerFile>(wanted);
  vocabulary_ = std::ssize(file_->texts);
  end_.reset();
  for (const char* name : {"<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"}) {
    for (const AddedTokens& added : file_->added) {
      if (const auto found = added.find(name); found != added.end()) end_ = found->second;
    }
  }
}

int64_t Tokenizer::end_of_document() const {
  if (end_) return *end_;
  throw DataError(source_ + ": expected an added token <|endoftext|>, <|end_of_text|>, </s> or <eos> to end documents");
}

std::vector<uint32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<uint32_t> tokens;
  Encoder(*this).encode(text, text.size(), {}, tokens);
  return tokens;
}

bool Tokenizer::knows(int64_t token) const {
  return token >= 0 && token < vocabulary_ && (!file_ || !file_->texts[token].empty());
}

std::string Tokenizer::decode(const std::vector<int64_t>& tokens) const {
  std::string text;
  for (const int64_t token : tokens) {
    if (!knows(token)) throw DataError(fmt::format("token {} is not one of the tokenizer {}", token, source_));
    if (token == end_) continue;
    if (file_) {
      text += file_->texts[token];
    } else {
      text.push_back(static_cast<char>(token));
    }
  }
  return text;
}

struct Encoder::State {
  explicit State(std::shared_ptr<const TokenizerFile> shared) : tokenizer(std::move(shared)), words(file.words) {
    for (const AddedTokens& texts : file.added) {
      if (!texts.empty()) added.emplace_back(Pattern(any_of(texts)), &texts);
    }
  }

  // Level by level: text between added tokens of the first kind, between those of the second, words.
  size_t encode(size_t level, std::string_view text, size_t stop, size_t from, std::vector<uint32_t>& tokens) {
    if (level == added.size()) return encode_words(text, stop, from, tokens);
    auto& [matcher, texts] = added[level];
    while (from < std::min(stop, text.size())) {
      const auto found = matcher.find(text.substr(from));
      const size_t begin = found ? from + found->first : text.size();
      const size_t end = found ? from + found->second : text.size();
      if (begin > from) from = encode(level + 1, text.substr(0, begin), stop, from, tokens);
      if (from < begin || from >= stop || !found) break;
      tokens.push_back(texts->find(text.substr(begin, end - begin))->second);
      from = end;
      begins = true;
    }
    return from;
  }

  size_t encode_words(std::string_view text, size_t stop, size_t from, std::vector<uint32_t>& tokens) {
    if (begins && file.prefix_space && text[from] != ' ') {
      begins = false;
      const std::string spaced = " " + std::string(text.substr(from));
      return encode_words(spaced, stop - from + 1, 0, tokens) + from - 1;
    }
    begins = false;
    while (from < std::min(stop, text.size())) {
      const auto found = words.find(text.substr(from));
      const size_t begin = found ? found->first : text.size() - from, end = found ? found->second : begin;
      if (begin > 0) encode_word(text.substr(from, begin), tokens);  // what no pattern matches is a word, too
      from += begin;
      if (!found || from >= stop) break;
      encode_word(text.substr(from, end - begin), tokens);
      from += end - begin;
    }
    return from;
  }

  void encode_word(std::string_view word, std::vector<uint32_t>& tokens) {
    constexpr size_t kMostWords = 1 << 16, kLongestWord = 32;
    if (const auto known = cache.find(word); known != cache.end()) {
      tokens.insert(tokens.end(), known->second.begin(), known->second.end());
      return;
    }
    const size_t before = tokens.size();
    append_word(file, word, tokens);
    if (word.size() > kLongestWord || cache.size() >= kMostWords) return;
    cache.emplace(word, std::vector<uint32_t>(tokens.begin() + static_cast<ptrdiff_t>(before), tokens.end()));
  }

  const std::shared_ptr<const TokenizerFile> tokenizer;
  const TokenizerFile& file = *tokenizer;
  std::vector<std::pair<Pattern, const AddedTokens*>> added;
  Pattern words;
  TextMap<std::vector<uint32_t>> cache;
  bool begins = true;  // no word since the text began or an added token ended
};

Encoder::Encoder(const Tokenizer& tokenizer)
    : state_(tokenizer.file_ ? std::make_unique<State>(tokenizer.file_) : nullptr) {}

Encoder::~Encoder() = default;

Encoder::Place Encoder::encode(std::string_view text, size_t stop, Place from, std::vector<uint32_t>& tokens) {
  if (!state_) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    if (from.offset < stop) tokens.insert(tokens.end(), bytes + from.offset, bytes + stop);
    return {std::max(from.offset, stop), false};
  }
  state_->begins = from.begins;
  const size_t end = state_->encode(0, text, stop, from.offset, tokens);
  return {end, state_->begins && state_->file.prefix_space};
}

std::string copy_tokenizer(const std::string& wanted, const std::string& folder) {
  if (wanted == kBytes || wanted == kNone) return wanted;
  std::ifstream stream(wanted, std::ios::binary);
  std::ostringstream text;
  if (!(text << stream.rdbuf())) throw DataError(wanted + ": cannot be read");
  write_durably(folder + "/" + kFile, std::move(text).str());
  return kFile;
}

std::string tokenizer_in(const std::string& folder, const std::string& name) {
  return name == kFile ? folder + "/" + kFile : name;
}

}  // namespace reprise
