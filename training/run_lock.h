#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace reprise {

struct LockOwner {
  std::string host, job;  // job: of the batch system; may be empty
  int64_t pid = 0;

  std::string text() const;  // "process 12 on node7, job 4711"
};

// The lock is held by a process that lives; the message says by whom.
struct RunInUse : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The right to write a run's directory: the system's lock (flock) on a file, which a process that ends in any way
// gives back; on a network file system the server keeps it. The file says who holds it and counts the attempts at the
// run. Throws RunInUse and StorageError.
class RunLock {
 public:
  RunLock(const std::string& path, const LockOwner& owner);
  ~RunLock();  // says in the file that the owner went in good order
  RunLock(const RunLock&) = delete;

  int64_t attempt() const { return attempt_; }                                // 1: the first
  const std::optional<LockOwner>& lost_owner() const { return lost_owner_; }  // who held it before and did not end well

 private:
  void write(const LockOwner& owner) const;

  const std::string path_;
  int file_ = -1;
  int64_t attempt_ = 1;
  std::optional<LockOwner> lost_owner_;
};

// Who says in the lock's file that it holds it, without touching the lock; process 0 once that ended in good order,
// nothing where the file says nothing.
std::optional<LockOwner> read_lock_owner(const std::string& path);

}  // namespace reprise
