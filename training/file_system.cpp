#include "training/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "training/errors.h"

namespace reprise {
namespace {

[[noreturn]] void fail(const char* what, const std::string& path, int reason = errno) {
  throw StorageError("cannot " + std::string(what) + " " + path + ": " + std::strerror(reason));
}

template <class Call>
auto uninterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

class Descriptor {
 public:
  Descriptor(int number, std::string path) : number_(number), path_(std::move(path)) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  int number() const { return number_; }
  const std::string& path() const { return path_; }
  void close() {
    // Whatever close says, the descriptor is gone.
    if (::close(std::exchange(number_, -1)) != 0) fail("close", path_);
  }

 private:
  int number_;
  const std::string path_;
};

class DiskOutput final : public OutputFile {
 public:
  DiskOutput(int number, const std::string& path) : file_(number, path) {}

  void allocate(int64_t bytes) override {
    if (bytes == 0 || uninterrupted([&] { return ::fallocate(file_.number(), 0, 0, bytes); }) == 0) return;
    if (errno != EOPNOTSUPP && errno != ENOSYS) fail("take the room for", file_.path());
  }

  void write(const void* bytes, size_t count) override {
    put(bytes, count, end_);
    end_ += static_cast<int64_t>(count);
  }

  void overwrite(int64_t offset, const void* bytes, size_t count) override { put(bytes, count, offset); }

  void sync() override {
    if (::fsync(file_.number()) != 0) fail("sync", file_.path());
  }

  void close() override { file_.close(); }

 private:
  void put(const void* bytes, size_t count, int64_t offset) {
    const char* next = static_cast<const char*>(bytes);
    while (count > 0) {
      const ssize_t written = uninterrupted([&] { return ::pwrite(file_.number(), next, count, offset); });
      if (written < 0) fail("write", file_.path());
      next += written;
      offset += written;
      count -= static_cast<size_t>(written);
    }
  }

  Descriptor file_;
  int64_t end_ = 0;
};

class DiskInput final : public InputFile {
 public:
  DiskInput(int number, const std::string& path) : file_(number, path) {
    struct stat facts {};
    if (::fstat(number, &facts) != 0) fail("look at", path);
    size_ = facts.st_size;
  }

  int64_t size() const override { return size_; }

  size_t read(int64_t offset, void* bytes, size_t count) const override {
    size_t done = 0;
    while (done < count) {
      const ssize_t got = uninterrupted([&] {
        return ::pread(file_.number(), static_cast<char*>(bytes) + done, count - done,
                       offset + static_cast<int64_t>(done));
      });
      if (got < 0) fail("read", file_.path());
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  const Descriptor file_;
  int64_t size_ = 0;
};

}  // namespace

std::unique_ptr<OutputFile> Disk::create(const std::string& path, int mode) {
  const int number = uninterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode); });
  if (number < 0 && errno == EEXIST) return nullptr;
  if (number < 0) fail("create", path);
  return std::make_unique<DiskOutput>(number, path);
}

std::unique_ptr<InputFile> Disk::open(const std::string& path) const {
  const int number = uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (number < 0 && (errno == ENOENT || errno == ENOTDIR)) return nullptr;
  if (number < 0) fail("open", path);
  return std::make_unique<DiskInput>(number, path);
}

std::vector<std::string> Disk::list(const std::string& folder) const {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error), end;
  for (; !error && entry != end; entry.increment(error)) names.push_back(entry->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory) fail("list", folder, error.value());
  std::ranges::sort(names);
  return names;
}

bool Disk::make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return true;
  if (errno != EEXIST) fail("make the folder", path);
  return false;
}

void Disk::rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail("rename", from + " to " + to);
}

void Disk::remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0) fail("remove", path);
}

void Disk::remove_folder(const std::string& path) {
  if (::rmdir(path.c_str()) != 0) fail("remove", path);
}

void Disk::sync_folder(const std::string& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
  if (folder.number() < 0) fail("open the folder", path);
  // EINVAL: this file system has no such notion.
  if (::fsync(folder.number()) != 0 && errno != EINVAL) fail("sync the folder", path);
}

DurableFile::DurableFile(std::string path) : path_(std::move(path)) {
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder)) {
    throw StorageError("cannot write " + path_ + ": there is no folder " + folder.string());
  }
  // A name that exists belongs to another writer or to one that was killed: take the next.
  for (int attempt = 0; !file_; ++attempt) {
    temporary_ = path_ + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(attempt);
    file_ = Disk().create(temporary_, 0644);
  }
}

DurableFile::~DurableFile() {
  if (file_) ::unlink(temporary_.c_str());
}

void DurableFile::commit() {
  file_->sync();
  file_->close();
  Disk().rename(temporary_, path_);
  file_.reset();

  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  Disk().sync_folder(folder.empty() ? "." : folder.string());
}

void write_durably(const std::string& path, std::string_view text) {
  DurableFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace reprise
