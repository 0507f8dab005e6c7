#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "training/errors.h"
#include "training/file_system.h"

namespace reprise {

// A disk in memory that refuses or crashes when told to. A crash loses whatever was not synced: of a file any of its
// 16-byte blocks, of a folder any of its entries, each as it was or as it would have become, by chance and one
// independently of the other, but for a rename, which happens or does not. Any thread, one at a time.
class CrashDisk final : public FileSystem {
 public:
  explicit CrashDisk(uint64_t seed) : random_(seed) {}

  // The call number `call` from now on (0: the next) fails. Once, or, a crash, with all that follow it.
  void fail_at(int64_t call) { plan(call, false); }
  void crash_at(int64_t call) { plan(call, true); }
  int64_t calls() const { return calls_; }
  bool has_crashed() const { return has_crashed_; }

  // What is there when the machine is up again.
  void restart() {
    if (has_crashed_) lose(*root_);
    has_crashed_ = false;
    trouble_ = -1;
  }

  // The bytes of a file, for damage; nothing when there is none.
  std::string* bytes_of(const std::string& path) {
    const std::shared_ptr<Node> node = find(path);
    return node && !node->is_folder ? &node->bytes : nullptr;
  }

  std::unique_ptr<OutputFile> create(const std::string& path, int) override;
  std::unique_ptr<InputFile> open(const std::string& path) const override;

  std::vector<std::string> list(const std::string& folder) const override {
    std::vector<std::string> names;
    if (const std::shared_ptr<Node> node = find(folder)) {
      for (const auto& [name, entry] : node->entries) names.push_back(name);
    }
    return names;
  }
  bool make_folder(const std::string& path) override {
    if (find(path)) return false;
    change([&] { entry(path) = std::make_shared<Node>(Node{.is_folder = true}); });
    return true;
  }
  void rename(const std::string& from, const std::string& to) override {
    const std::shared_ptr<Node> there = find(to);
    if (there && !there->entries.empty()) throw StorageError("rename: a folder with files is there: " + to);
    change([&] {
      entry(to) = need(from);
      parent(from)->entries.erase(leaf(from));
    });
  }
  void remove_file(const std::string& path) override {
    need(path);
    change([&] { parent(path)->entries.erase(leaf(path)); });
  }
  void remove_folder(const std::string& path) override {
    if (!need(path)->entries.empty()) throw StorageError("not empty: " + path);
    remove_file(path);
  }
  void sync_folder(const std::string& path) override {
    change([&] { need(path)->synced_entries = need(path)->entries; });
  }

 private:
  struct Node {
    bool is_folder = false;
    std::string bytes, synced_bytes;
    std::map<std::string, std::shared_ptr<Node>> entries = {}, synced_entries = {};
  };
  class Output;
  class Input;

  void plan(int64_t call, bool is_crash) {
    trouble_ = calls_ + call;
    is_crash_ = is_crash;
  }

  // One call that changes something; one that fails may have done its work or not.
  void change(const std::function<void()>& work) {
    if (has_crashed_) throw StorageError("the machine is down");
    if (calls_++ != trouble_) return work();
    if (random_() % 2 == 0) work();
    has_crashed_ = is_crash_;
    throw StorageError("told to fail");
  }

  static std::string leaf(const std::string& path) { return path.substr(path.rfind('/') + 1); }
  std::shared_ptr<Node> find(const std::string& path) const {
    std::shared_ptr<Node> node = root_;
    for (size_t start = 0; node && start < path.size();) {
      const size_t end = std::min(path.find('/', start), path.size());
      const auto found = node->entries.find(path.substr(start, end - start));
      node = found == node->entries.end() ? nullptr : found->second;
      start = end + 1;
    }
    return node;
  }
  std::shared_ptr<Node> need(const std::string& path) const {
    std::shared_ptr<Node> node = find(path);
    if (!node) throw StorageError("no such file: " + path);
    return node;
  }
  std::shared_ptr<Node> parent(const std::string& path) const {
    return path.find('/') == std::string::npos ? root_ : need(path.substr(0, path.rfind('/')));
  }
  std::shared_ptr<Node>& entry(const std::string& path) { return parent(path)->entries[leaf(path)]; }

  void lose(Node& node) {
    if (!node.is_folder) {
      constexpr size_t kBlock = 16;
      node.synced_bytes.resize(node.bytes.size());
      for (size_t i = 0; i < node.bytes.size(); i += kBlock) {
        if (random_() % 2 == 0) node.bytes.replace(i, kBlock, node.synced_bytes, i, kBlock);
      }
      if (node.bytes != node.synced_bytes && random_() % 4 == 0) node.bytes.resize(random_() % node.bytes.size());
      node.synced_bytes = node.bytes;
      return;
    }
    auto names = node.entries;
    names.insert(node.synced_entries.begin(), node.synced_entries.end());
    for (const auto& [name, unused] : names) {
      if (random_() % 2 == 0) continue;
      const auto synced = node.synced_entries.find(name);
      if (synced == node.synced_entries.end()) {
        node.entries.erase(name);
      } else {
        node.entries[name] = synced->second;
      }
    }
    for (auto entry = node.entries.begin(); entry != node.entries.end();) {
      const auto first =
          std::find_if(node.entries.begin(), entry, [&](const auto& e) { return e.second == entry->second; });
      entry = first == entry ? std::next(entry) : node.entries.erase(random_() % 2 == 0 ? first : entry);
    }
    for (const auto& [name, child] : node.entries) lose(*child);
    node.synced_entries = node.entries;
  }

  std::mt19937_64 random_;
  const std::shared_ptr<Node> root_ = std::make_shared<Node>(Node{.is_folder = true});
  int64_t calls_ = 0, trouble_ = -1;
  bool is_crash_ = false, has_crashed_ = false;
};

class CrashDisk::Output final : public OutputFile {
 public:
  Output(CrashDisk& disk, std::shared_ptr<Node> node) : disk_(disk), node_(std::move(node)) {}
  void allocate(int64_t bytes) override {
    disk_.change([&] { node_->bytes.resize(static_cast<size_t>(bytes)); });
  }
  void write(const void* bytes, size_t count) override {
    overwrite(end_, bytes, count);
    end_ += static_cast<int64_t>(count);
  }
  void overwrite(int64_t offset, const void* bytes, size_t count) override {
    disk_.change([&] {
      const size_t end = static_cast<size_t>(offset) + count;
      if (node_->bytes.size() < end) node_->bytes.resize(end);
      std::memcpy(node_->bytes.data() + offset, bytes, count);
    });
  }
  void sync() override {
    disk_.change([&] { node_->synced_bytes = node_->bytes; });
  }
  void close() override {
    disk_.change([] {});
  }

 private:
  CrashDisk& disk_;
  const std::shared_ptr<Node> node_;
  int64_t end_ = 0;
};

class CrashDisk::Input final : public InputFile {
 public:
  explicit Input(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  int64_t size() const override { return static_cast<int64_t>(node_->bytes.size()); }
  size_t read(int64_t offset, void* bytes, size_t count) const override {
    const size_t from = std::min(static_cast<size_t>(offset), node_->bytes.size());
    const size_t part = std::min(count, node_->bytes.size() - from);
    std::memcpy(bytes, node_->bytes.data() + from, part);
    return part;
  }

 private:
  const std::shared_ptr<Node> node_;
};

inline std::unique_ptr<OutputFile> CrashDisk::create(const std::string& path, int) {
  if (find(path)) return nullptr;
  const auto node = std::make_shared<Node>();
  change([&] { entry(path) = node; });
  return std::make_unique<Output>(*this, node);
}

inline std::unique_ptr<InputFile> CrashDisk::open(const std::string& path) const {
  const std::shared_ptr<Node> node = find(path);
  return node && !node->is_folder ? std::make_unique<Input>(node) : nullptr;
}

}  // namespace reprise
