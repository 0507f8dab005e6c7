#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace reprise {

// What a reader of documents is told, in this order for each document: pieces of its text (never empty), then its end.
struct DocumentVisitor {
  std::function<void(std::string_view text)> piece;
  std::function<void()> end;
  std::function<void(int64_t bytes)> advance;  // so many more bytes of the file have been read
};

// A document is the whole file or, for *.jsonl, the string under "text" of each line that is not blank. Documents
// without text are passed over. A file is read in pieces of at most 1 MiB, a JSON line is held whole. Throws DataError
// that names the file (and line) when it cannot be read or a line is not such an object.
void read_documents(const std::string& file, const DocumentVisitor& visitor);

// Throws DataError when the file does not exist or is not a regular one (it must be readable twice).
int64_t document_file_bytes(const std::string& file);

}  // namespace reprise
