#include "training/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "training/errors.h"

namespace reprise {
namespace {

struct Descriptor {
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int number;
};

[[noreturn]] void fail(const std::string& path) { throw DataError(path + ": cannot be read: " + std::strerror(errno)); }

}  // namespace

MappedFile::MappedFile(const std::string& path, Access access) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe must not block the open
  struct stat facts = {};
  if (file.number < 0 || ::fstat(file.number, &facts) != 0) fail(path);
  if (!S_ISREG(facts.st_mode)) throw DataError(path + ": is not a regular file");
  size_ = static_cast<size_t>(facts.st_size);
  if (size_ == 0) return;
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* mapped = ::mmap(nullptr, size_, protection, MAP_PRIVATE, file.number, 0);
  if (mapped == MAP_FAILED) fail(path);
  data_ = static_cast<char*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace reprise
