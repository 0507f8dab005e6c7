#include "training/input_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

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
  if (file >= 0) ::close(file);
  if (mapped == MAP_FAILED) throw DataError(path + ": cannot be read: " + reason.message());
  return torch::from_blob(
      mapped, {bytes}, [count](void* data) { ::munmap(data, count); }, torch::kUInt8);
}

}  // namespace reprise
