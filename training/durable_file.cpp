#include "training/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "training/errors.h"

namespace reprise {

DurableFile::DurableFile(std::string path) : path_(std::move(path)) {
  // A name that exists belongs to another writer or to one that was killed: take the next.
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = path_ + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(attempt);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) fail("create");
  }
}

DurableFile::~DurableFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void DurableFile::write(const void* bytes, size_t count) {
  const char* next = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::write(descriptor_, next, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    next += written;
    count -= static_cast<size_t>(written);
  }
}

void DurableFile::overwrite(int64_t offset, const void* bytes, size_t count) {
  if (::lseek(descriptor_, offset, SEEK_SET) < 0) fail("seek in");
  write(bytes, count);
  if (::lseek(descriptor_, 0, SEEK_END) < 0) fail("seek in");
}

void DurableFile::commit() {
  if (::fsync(descriptor_) != 0) fail("sync");
  const int closed = ::close(descriptor_);
  descriptor_ = -1;  // whatever close says, the descriptor is gone
  if (closed != 0) fail("close");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename into place");
  temporary_.clear();

  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  const int directory = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) fail("open the folder of");
  const int synced = ::fsync(directory);
  const int reason = errno;
  ::close(directory);
  errno = reason;
  if (synced != 0 && reason != EINVAL) fail("sync the folder of");  // EINVAL: this file system has no such notion
}

void DurableFile::fail(const char* what) const {
  throw StorageError("cannot " + std::string(what) + " " + path_ + ": " + std::strerror(errno));
}

void write_durably(const std::string& path, std::string_view text) {
  DurableFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw StorageError("cannot make the folder " + path + ": " + error.message());
}

void remove_file(const std::string& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) throw StorageError("cannot remove " + path + ": " + error.message());
}

void remove_all(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw StorageError("cannot remove " + path + ": " + error.message());
}

}  // namespace reprise
