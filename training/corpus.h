#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reprise {

// A document is a whole file or, of JSON lines, the string under a field. by_name: *.jsonl holds lines.
enum class TextFormat { by_name, plain, json_lines };

// A part of a file: bytes [begin, end) of one of its texts [text_begin, text_end), or the lines that begin there.
struct Block {
  size_t file = 0;
  bool is_lines = false;
  int64_t begin = 0, end = 0, text_begin = 0, text_end = 0;
};

// What a block holds: text[first, stop), which is moved from [begin, end) to where words probably begin, in the same
// way for two neighbours; around it what else is seen of the text. Of lines, all of each.
struct BlockText {
  std::string text;
  size_t first = 0, stop = 0;
};

// Files as blocks. Immutable; any thread may read. Throws DataError when a file cannot be read or has become shorter.
class Corpus {
 public:
  Corpus(std::vector<std::string> files, TextFormat format, int64_t block_bytes);

  const std::vector<std::string>& files() const { return files_; }
  const std::vector<int64_t>& bytes() const { return bytes_; }  // by file
  // All blocks in order. By file, if it is one document: where its first text ends, at that byte or some before it so
  // that no character is cut.
  std::vector<Block> blocks(const std::vector<int64_t>& cuts) const;
  // A sixteenth of a block's bytes is seen beyond it.
  BlockText read(const Block& block) const;
  // The string in a JSON line that begins at a byte of a file; throws DataError that names file and line.
  std::string text_of_line(const std::string& line, const std::string& field, size_t file, int64_t begin) const;

 private:
  std::string read_range(size_t file, int64_t begin, int64_t end) const;

  const std::vector<std::string> files_;
  const TextFormat format_;
  const int64_t block_bytes_, beyond_bytes_;
  std::vector<int64_t> bytes_;
};

// The beginning of the UTF-8 character that a place of the text is in.
size_t character_begin(std::string_view text, size_t at);

}  // namespace reprise
