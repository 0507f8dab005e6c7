#include "training/durable_file.h"

#include <unistd.h>

#include <filesystem>

#include "training/errors.h"

namespace reprise {

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
