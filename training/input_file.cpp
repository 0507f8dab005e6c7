#include "training/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <vector>

#include "training/errors.h"

namespace reprise {

int64_t file_bytes(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!error && !std::filesystem::is_regular_file(status)) throw DataError(path + ": is not a regular file");
  const uintmax_t bytes = error ? 0 : std::filesystem::file_size(path, error);
  if (error) throw DataError(path + ": cannot be read: " + error.message());
  return static_cast<int64_t>(bytes);
}

torch::Tensor map_file(const std::string& path, Access access) {
  const int64_t bytes = file_bytes(path);
  if (bytes == 0) return torch::empty({0}, torch::kUInt8);  // which cannot be mapped
  const auto count = static_cast<size_t>(bytes);
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  void* mapped = file < 0 ? MAP_FAILED : ::mmap(nullptr, count, protection, MAP_PRIVATE, file, 0);
  const std::error_code reason(errno, std::generic_category());
  struct stat opened {};
  const bool is_cut = file >= 0 && ::fstat(file, &opened) == 0 && opened.st_size < bytes;
  if (file >= 0) ::close(file);
  if (is_cut) throw DataError(path + ": was shortened while it was opened");
  if (mapped == MAP_FAILED) throw DataError(path + ": cannot be read: " + reason.message());
  return torch::from_blob(
      mapped, {bytes}, [count](void* data) { ::munmap(data, count); }, torch::kUInt8);
}

nlohmann::json parse_json(const std::string& path, std::string_view text, int deepest) {
  // The library keeps the last of equal keys, so repeated names are caught while it parses.
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && depth >= deepest) throw DataError(path + ": JSON is nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw DataError(fmt::format("{}: name used twice in JSON: {:.200}", path, parsed.get<std::string>()));
    }
    return true;
  };
  try {
    nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), watch);
    if (!json.is_object()) throw DataError(path + ": expected a JSON object");
    return json;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("{}: not valid JSON: {:.200}", path, error.what()));
  }
}

nlohmann::json read_json(const std::string& path, int deepest) {
  constexpr int64_t kMostBytes = 100'000'000;
  const torch::Tensor file = map_file(path, Access::read_only);
  if (file.numel() > kMostBytes)
    throw DataError(fmt::format("{}: {} bytes, more than JSON has here", path, file.numel()));
  return parse_json(path, {static_cast<const char*>(file.const_data_ptr()), static_cast<size_t>(file.numel())},
                    deepest);
}

}  // namespace reprise
