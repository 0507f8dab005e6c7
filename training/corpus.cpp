#include "training/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "training/errors.h"
#include "training/input_file.h"

namespace reprise {
namespace {

// After the last line break before a letter, if there is one.
size_t place_to_cut(const std::string& text, size_t at, size_t most_back) {
  for (size_t place = at; place > at - most_back; --place) {
    const auto c = static_cast<unsigned char>(text[place]);
    if (text[place - 1] == '\n' && (std::isalnum(c) || c >= 0x80)) return place;
  }
  return character_begin(text, at);
}

}  // namespace

size_t character_begin(std::string_view text, size_t at) {
  for (int i = 0; i < 3 && at > 0 && at < text.size() && (text[at] & 0xc0) == 0x80; ++i) --at;
  return at;
}

Corpus::Corpus(std::vector<std::string> files, TextFormat format, int64_t block_bytes)
    : files_(std::move(files)), format_(format), block_bytes_(block_bytes), beyond_bytes_(block_bytes / 16) {
  for (const std::string& file : files_) bytes_.push_back(file_bytes(file));
}

std::vector<Block> Corpus::blocks(const std::vector<int64_t>& cuts) const {
  std::vector<Block> blocks;
  for (size_t file = 0; file < files_.size(); ++file) {
    const bool is_lines =
        format_ == TextFormat::json_lines || (format_ == TextFormat::by_name && files_[file].ends_with(".jsonl"));
    int64_t cut = is_lines ? bytes_[file] : cuts[file];
    if (cut > 3 && cut < bytes_[file]) {
      cut += static_cast<int64_t>(character_begin(read_range(file, cut - 3, cut + 1), 3)) - 3;
    }
    for (int64_t begin = 0; begin < bytes_[file];) {
      Block block{file, is_lines, begin, 0, begin < cut ? 0 : cut, begin < cut ? cut : bytes_[file]};
      block.end = begin = std::min(begin + block_bytes_, block.text_end);
      blocks.push_back(block);
    }
  }
  return blocks;
}

BlockText Corpus::read(const Block& block) const {
  if (!block.is_lines) {
    const int64_t base = std::max(block.text_begin, block.begin - beyond_bytes_);
    BlockText seen{read_range(block.file, base, std::min(block.text_end, block.end + beyond_bytes_))};
    const auto place = [&](int64_t at) {
      const auto here = static_cast<size_t>(at - base);
      const bool is_end = at == block.text_begin || at == block.text_end;
      return is_end ? here : place_to_cut(seen.text, here, static_cast<size_t>(beyond_bytes_));
    };
    seen.first = place(block.begin);
    seen.stop = place(block.end);
    return seen;
  }
  const int64_t base = std::max<int64_t>(0, block.begin - 1);  // a line break there is the end of another's line
  std::string text = read_range(block.file, base, block.end);
  const size_t line_break = block.begin == 0 ? std::string::npos : text.find('\n');
  const size_t first = line_break + 1;
  if (first == text.size() || (block.begin > 0 && first == 0)) return {};
  for (int64_t end = block.end; text.back() != '\n' && end < block.text_end;) {
    const int64_t more = std::min(block.text_end, end + std::ssize(text));
    text += read_range(block.file, end, more);
    text.resize(std::min(text.find('\n', static_cast<size_t>(end - base)), text.size() - 1) + 1);
    end = more;
  }
  const size_t stop = text.size();
  return {std::move(text), first, stop};
}

std::string Corpus::text_of_line(const std::string& line, const std::string& field, size_t file, int64_t begin) const {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains(field) && json[field].is_string()) return json[field].get<std::string>();
  int64_t number = 1;
  for (int64_t at = 0; at < begin; at += block_bytes_) {
    const std::string some = read_range(file, at, std::min(begin, at + block_bytes_));
    number += std::count(some.begin(), some.end(), '\n');
  }
  throw DataError(json.is_discarded()
                      ? fmt::format("{}:{}: is not JSON", files_[file], number)
                      : fmt::format("{}:{}: expected an object with a string \"{}\"", files_[file], number, field));
}

std::string Corpus::read_range(size_t file, int64_t begin, int64_t end) const {
  std::string text(static_cast<size_t>(end - begin), '\0');
  std::ifstream stream(files_[file], std::ios::binary);
  if (stream.seekg(begin).read(text.data(), std::ssize(text))) return text;
  if (stream.eof()) throw DataError(files_[file] + ": changed while it was being prepared");
  throw DataError(files_[file] + ": cannot be read: " + std::strerror(errno));
}

}  // namespace reprise
