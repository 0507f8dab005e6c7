#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace reprise {

// What saved runs ask of a disk: the one place where files are made, renamed and removed, so that tests can refuse a
// call or lose what was not synced. Every function throws StorageError that names the path and the system's reason.
// Nothing is durable before sync(), and no name before sync_folder() of the folder that holds it.

// A new file. One thread at a time; the end closes it, without a word about failures.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual void allocate(int64_t bytes) = 0;  // takes room for so many bytes now, where the file system can
  virtual void write(const void* bytes, size_t count) = 0;                      // appends
  virtual void overwrite(int64_t offset, const void* bytes, size_t count) = 0;  // bytes that are already written
  virtual void sync() = 0;   // a failed one must not be tried again: the system may have dropped the bytes
  virtual void close() = 0;  // the last call
};

class InputFile {
 public:
  virtual ~InputFile() = default;
  virtual int64_t size() const = 0;
  virtual size_t read(int64_t offset, void* bytes, size_t count) const = 0;  // fewer only at the end of the file
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<OutputFile> create(const std::string& path, int mode) = 0;  // nothing: the name exists
  virtual std::unique_ptr<InputFile> open(const std::string& path) const = 0;         // nothing: no such file
  virtual std::vector<std::string> list(const std::string& folder) const = 0;         // names, sorted; none: no folder
  virtual bool make_folder(const std::string& path) = 0;                              // one level; false: it exists
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove_file(const std::string& path) = 0;
  virtual void remove_folder(const std::string& path) = 0;  // an empty one
  virtual void sync_folder(const std::string& path) = 0;
};

// The operating system's files. Holds nothing; any thread.
class Disk final : public FileSystem {
 public:
  std::unique_ptr<OutputFile> create(const std::string& path, int mode) override;
  std::unique_ptr<InputFile> open(const std::string& path) const override;
  std::vector<std::string> list(const std::string& folder) const override;
  bool make_folder(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void remove_file(const std::string& path) override;
  void remove_folder(const std::string& path) override;
  void sync_folder(const std::string& path) override;
};

// Writes a whole file or nothing: temporary name beside it ("PATH.tmp.<pid>.<n>", mode 0644 less the umask), fsync,
// rename, fsync of the folder. Every function throws StorageError that names the path and the system's reason; up to
// the rename the older file, if any, is then untouched, and the destructor removes the temporary one. One thread at a
// time.
class DurableFile {
 public:
  explicit DurableFile(std::string path);
  ~DurableFile();  // removes the temporary file unless committed
  void write(const void* bytes, size_t count) { file_->write(bytes, count); }  // appends
  void overwrite(int64_t offset, const void* bytes, size_t count) { file_->overwrite(offset, bytes, count); }
  void commit();  // the last call

 private:
  std::string path_, temporary_;
  std::unique_ptr<OutputFile> file_;  // nothing once committed
};

void write_durably(const std::string& path, std::string_view text);

}  // namespace reprise
