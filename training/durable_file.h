#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "training/file_system.h"

namespace reprise {

// Writes a whole file or nothing: temporary name beside it ("PATH.tmp.<pid>.<n>", mode 0644 less the umask), fsync,
// rename, fsync of the folder. Every function throws StorageError that names the path and the system's reason; up to
// the rename the older file, if any, is then untouched, and the destructor removes the temporary one. One thread at a
// time.
class DurableFile {
 public:
  explicit DurableFile(std::string path);
  ~DurableFile();  // removes the temporary file unless committed
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;
  void write(const void* bytes, size_t count) { file_->write(bytes, count); }  // appends
  void overwrite(int64_t offset, const void* bytes, size_t count) { file_->overwrite(offset, bytes, count); }
  void commit();  // the last call

 private:
  std::string path_, temporary_;
  std::unique_ptr<OutputFile> file_;  // nothing once committed
};

void write_durably(const std::string& path, std::string_view text);

}  // namespace reprise
