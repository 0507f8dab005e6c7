#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "training/snapshot_format.h"

namespace reprise {

// The snapshots of one run: the folders snapshot-<step> of `folder`. One writer at a time (RunLock); any reader.
// All functions throw StorageError where the disk refuses.
class SnapshotStore {
 public:
  SnapshotStore(FileSystem& files, std::string folder) : files_(files), folder_(std::move(folder)) {}

  static std::string name_of(int64_t step);  // "snapshot-00000100"
  std::string path_of(const std::string& name) const { return folder_ + "/" + name; }
  std::vector<int64_t> steps() const;  // of complete snapshots, good or not, newest first

  struct Found {
    std::string path;
    Manifest manifest;
  };
  // The newest one that is what was written, to the byte. Calls `reject` with the name of each newer one and what is
  // wrong with it.
  std::optional<Found> newest_good(
      const std::function<void(const std::string& name, const std::string& reason)>& reject) const;

  static std::string unfinished_name_of(int64_t step, const std::string& suffix);  // "snapshot-<step>.tmp-<suffix>"
  // Makes `folder` and, in it, the folder that a snapshot is written to. Returns its path; every rank may call it.
  std::string begin(int64_t step, const std::string& suffix);
  // The last word about a snapshot whose files are all synced: sees that they are there, at their full length, writes
  // the manifest, and gives the folder its name. When it returns, the snapshot is durable. One of the same name, which
  // can only be a damaged one, goes.
  void publish(const std::string& temporary, const Manifest& manifest);

  // Removes all but the newest `keep` good ones (at least 2), which are verified again now, and those of every
  // `keep_every` steps (0: none): renamed first, so that no name ever stands for half a snapshot. Removes nothing
  // before `keep` good ones are found.
  void retain(int64_t keep, int64_t keep_every);

  // Removes what writers left behind that did not end: unfinished snapshots and half-removed ones.
  void sweep();

  void discard(const std::string& name);  // a folder with files in it, by rename and then file by file

 private:
  void remove_folder(const std::string& path);

  FileSystem& files_;
  const std::string folder_;
};

}  // namespace reprise
