#include "training/snapshot_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "training/errors.h"

namespace reprise {
namespace {

constexpr std::string_view kPrefix = "snapshot-", kTrash = "trash-", kTemporary = ".tmp-";

std::optional<int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  return error == std::errc() && name == SnapshotStore::name_of(step) ? std::optional(step) : std::nullopt;
}

}  // namespace

std::string SnapshotStore::name_of(int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

std::vector<int64_t> SnapshotStore::steps() const {
  std::vector<int64_t> steps;
  for (const std::string& name : files_.list(folder_)) {
    if (const std::optional<int64_t> step = step_of(name)) steps.push_back(*step);
  }
  std::ranges::sort(steps, std::greater());
  return steps;
}

std::optional<SnapshotStore::Found> SnapshotStore::newest_good(
    const std::function<void(const std::string& name, const std::string& reason)>& reject) const {
  for (const int64_t step : steps()) {
    const std::string path = path_of(name_of(step));
    try {
      Manifest manifest = verify_snapshot(files_, path);
      if (manifest.progress.step != step) {
        throw DataError(fmt::format("its manifest is that of step {}", manifest.progress.step));
      }
      return Found{path, std::move(manifest)};
    } catch (const DataError& error) {
      reject(name_of(step), error.what());
    } catch (const StorageError& error) {  // a file that cannot be read
      reject(name_of(step), error.what());
    }
  }
  return std::nullopt;
}

std::string SnapshotStore::unfinished_name_of(int64_t step, const std::string& suffix) {
  return fmt::format("{}{}{}", name_of(step), kTemporary, suffix);
}

std::string SnapshotStore::begin(int64_t step, const std::string& suffix) {
  files_.make_folder(folder_);
  const std::string path = path_of(unfinished_name_of(step, suffix));
  files_.make_folder(path);
  return path;
}

void SnapshotStore::publish(const std::string& temporary, const Manifest& manifest) {
  for (const FileFacts& facts : manifest.files) {
    const std::unique_ptr<InputFile> file = files_.open(temporary + "/" + facts.name);
    if (file && file->size() == facts.bytes) continue;
    throw StorageError(
        fmt::format("{}/{} is not what its rank wrote; do all ranks see one file system?", temporary, facts.name));
  }
  const std::string text = format_manifest(manifest);
  write_file(files_, temporary, "manifest.json", static_cast<int64_t>(text.size()),
             [&](const ByteSink& write) { write(text.data(), text.size()); });
  files_.sync_folder(temporary);
  const std::string name = name_of(manifest.progress.step);
  if (std::ranges::binary_search(files_.list(folder_), name)) discard(name);
  files_.rename(temporary, path_of(name));
  files_.sync_folder(folder_);
  // The folder's own name is as durable as the names in it.
  files_.sync_folder(std::filesystem::path(folder_).parent_path().string());
}

void SnapshotStore::retain(int64_t keep, int64_t keep_every) {
  keep = std::max<int64_t>(2, keep);
  int64_t good = 0;
  for (const int64_t step : steps()) {
    const std::string name = name_of(step);
    if (good == keep) {
      if (keep_every == 0 || step % keep_every != 0) discard(name);
      continue;
    }
    try {
      good += verify_snapshot(files_, path_of(name)).progress.step == step ? 1 : 0;
    } catch (const DataError&) {
      // Does not count; nobody may learn from it what went wrong once it is gone, so it stays.
    }
  }
}

void SnapshotStore::sweep() {
  for (const std::string& name : files_.list(folder_)) {
    if (name.starts_with(kTrash)) remove_folder(path_of(name));
    if (name.starts_with(kPrefix) && name.find(kTemporary) != std::string::npos) remove_folder(path_of(name));
  }
}

void SnapshotStore::discard(const std::string& name) {
  const std::string trash = path_of(std::string(kTrash) + name);
  if (std::ranges::binary_search(files_.list(folder_), std::string(kTrash) + name)) remove_folder(trash);
  files_.rename(path_of(name), trash);
  remove_folder(trash);
}

void SnapshotStore::remove_folder(const std::string& path) {
  for (const std::string& name : files_.list(path)) files_.remove_file(path + "/" + name);
  files_.remove_folder(path);
}

}  // namespace reprise
