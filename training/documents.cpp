#include "training/documents.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "training/errors.h"

namespace reprise {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

void read_whole_file(const std::string& file, std::ifstream& stream, const DocumentVisitor& visitor) {
  std::vector<char> buffer(kPieceBytes);
  bool has_text = false;
  while (stream.good()) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (stream.gcount() == 0) break;
    has_text = true;
    visitor.piece({buffer.data(), static_cast<size_t>(stream.gcount())});
    visitor.advance(stream.gcount());
  }
  if (stream.bad()) throw DataError(file + ": cannot be read: " + std::strerror(errno));
  if (has_text) visitor.end();
}

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

void read_json_lines(const std::string& file, std::ifstream& stream, const DocumentVisitor& visitor) {
  std::string line;
  for (int64_t number = 1; std::getline(stream, line); ++number) {
    visitor.advance(static_cast<int64_t>(line.size()) + (stream.eof() ? 0 : 1));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string text = text_of_line(file, number, line);
    if (text.empty()) continue;
    visitor.piece(text);
    visitor.end();
  }
  if (stream.bad()) throw DataError(file + ": cannot be read: " + std::strerror(errno));
}

}  // namespace

void read_documents(const std::string& file, const DocumentVisitor& visitor) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw DataError(file + ": cannot be read: " + std::strerror(errno));
  if (file.ends_with(".jsonl")) {
    read_json_lines(file, stream, visitor);
  } else {
    read_whole_file(file, stream, visitor);
  }
}

int64_t document_file_bytes(const std::string& file) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  if (error) throw DataError(file + ": cannot be read: " + error.message());
  if (!std::filesystem::is_regular_file(status)) throw DataError(file + ": is not a regular file");
  const uintmax_t bytes = std::filesystem::file_size(file, error);
  if (error) throw DataError(file + ": cannot be read: " + error.message());
  return static_cast<int64_t>(bytes);
}

}  // namespace reprise
