#pragma once

#include <cstddef>
#include <string>

namespace reprise {

// A whole regular file in memory, mapped privately: what is written through a copy_on_write map never reaches the file.
// The file must not be shortened while it is mapped. Any thread may read.
class MappedFile {
 public:
  enum class Access { read_only, copy_on_write };
  MappedFile(const std::string& path, Access access);  // throws DataError that names the path and the system's reason
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() const { return data_; }  // page-aligned; null when the file is empty
  size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace reprise
