#include "training/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "training/errors.h"

namespace reprise {
namespace {

using Json = nlohmann::ordered_json;

struct Entry {
  LockOwner owner;
  int64_t attempt = 0;
};

// What the file says; nothing when that is of no use.
std::optional<Entry> read_entry(int file) {
  char text[4096];
  const ssize_t count = ::pread(file, text, sizeof text, 0);
  try {
    const Json json = Json::parse(text, text + std::max<ssize_t>(count, 0));
    return Entry{{json.at("host"), json.at("job"), json.at("pid")}, json.at("attempt")};
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

std::string LockOwner::text() const {
  return fmt::format("process {} on {}{}", pid, host, job.empty() ? "" : ", job " + job);
}

std::optional<LockOwner> read_lock_owner(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  const std::optional<Entry> entry = read_entry(file);
  ::close(file);
  return entry ? std::optional(entry->owner) : std::nullopt;
}

RunLock::RunLock(const std::string& path, const LockOwner& owner) : path_(path) {
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) throw StorageError(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  const bool is_ours = ::flock(file_, LOCK_EX | LOCK_NB) == 0;
  const int reason = errno;
  const std::optional<Entry> last = read_entry(file_);
  if (!is_ours) {
    ::close(file_);
    if (reason == EWOULDBLOCK) throw RunInUse(last ? last->owner.text() : "another process");
    throw StorageError(fmt::format("cannot lock {}: {}", path, std::strerror(reason)));
  }
  if (last) attempt_ = last->attempt + 1;
  if (last && last->owner.pid != 0) lost_owner_ = last->owner;
  write(owner);
}

RunLock::~RunLock() {
  try {
    write({});
  } catch (const StorageError&) {
    // The next owner will say that it takes over; the lock itself is free.
  }
  ::close(file_);
}

void RunLock::write(const LockOwner& owner) const {
  const std::string text =
      Json{{"attempt", attempt_}, {"pid", owner.pid}, {"host", owner.host}, {"job", owner.job}}.dump() + "\n";
  if (::ftruncate(file_, 0) != 0 || ::pwrite(file_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    throw StorageError(fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
  }
}

}  // namespace reprise
