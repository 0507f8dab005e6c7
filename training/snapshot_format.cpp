#include "training/snapshot_format.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <nlohmann/json.hpp>

#include "training/errors.h"

namespace reprise {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBlockBytes = 4 << 20;
constexpr const char* kFormat = "reprise snapshot 1";

std::string hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

// Of a file's bytes in order, whatever the pieces they come in.
class Hasher {
 public:
  Hasher() {
    XXH3_128bits_reset(&whole_);
    XXH3_128bits_reset(&block_);
  }

  void add(const void* bytes, size_t count) {
    const char* next = static_cast<const char*>(bytes);
    facts_.bytes += static_cast<int64_t>(count);
    XXH3_128bits_update(&whole_, bytes, count);
    while (count > 0) {
      const size_t part = std::min(count, kBlockBytes - in_block_);
      XXH3_128bits_update(&block_, next, part);
      next += part;
      count -= part;
      in_block_ += part;
      if (in_block_ == kBlockBytes) end_block();
    }
  }

  int64_t bytes() const { return facts_.bytes; }

  FileFacts finish(const std::string& name) {
    if (in_block_ > 0) end_block();
    facts_.name = name;
    facts_.xxh3_128 = hex(XXH3_128bits_digest(&whole_));
    return facts_;
  }

 private:
  void end_block() {
    facts_.blocks.push_back(hex(XXH3_128bits_digest(&block_)));
    XXH3_128bits_reset(&block_);
    in_block_ = 0;
  }

  XXH3_state_t whole_, block_;
  size_t in_block_ = 0;
  FileFacts facts_;
};

Json to_json(const std::vector<FileFacts>& files) {
  Json list = Json::array();
  for (const FileFacts& file : files) {
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.xxh3_128}, {"blocks", file.blocks}});
  }
  return list;
}

std::vector<FileFacts> from_json(const Json& list) {
  std::vector<FileFacts> files;
  for (const Json& file : list)
    files.push_back({file.at("name"), file.at("bytes"), file.at("xxh3_128"), file.at("blocks")});
  return files;
}

std::string sealed(Json json) {
  const auto text_of = [](const Json& value) { return value.dump(1, ' ', false, Json::error_handler_t::replace); };
  const std::string text = text_of(json);
  json["manifest_xxh3_128"] = hex(XXH3_128bits(text.data(), text.size()));
  return text_of(json) + "\n";
}

std::string read_text(const FileSystem& files, const std::string& path) {
  constexpr int64_t kMostBytes = 256 << 20;
  const std::unique_ptr<InputFile> file = files.open(path);
  if (!file) throw DataError(path + " is missing");
  if (file->size() > kMostBytes) throw DataError(fmt::format("{} has {} bytes, too many", path, file->size()));
  std::string text(static_cast<size_t>(file->size()), '\0');
  text.resize(file->read(0, text.data(), text.size()));
  return text;
}

void verify_file(const FileSystem& files, const std::string& path, const FileFacts& facts) {
  const std::unique_ptr<InputFile> file = files.open(path);
  if (!file) throw DataError(path + " is missing");
  if (file->size() != facts.bytes) {
    throw DataError(fmt::format("{} has {} bytes, {} were written", path, file->size(), facts.bytes));
  }
  Hasher hasher;
  std::vector<char> block(std::min(kBlockBytes, static_cast<size_t>(facts.bytes)));
  for (size_t count; (count = file->read(hasher.bytes(), block.data(), block.size())) > 0;) {
    hasher.add(block.data(), count);
  }
  const FileFacts found = hasher.finish(facts.name);
  for (size_t i = 0; i < std::min(found.blocks.size(), facts.blocks.size()); ++i) {
    if (found.blocks[i] == facts.blocks[i]) continue;
    throw DataError(fmt::format("{} is damaged between bytes {} and {}", path, i * kBlockBytes, (i + 1) * kBlockBytes));
  }
  if (found.xxh3_128 != facts.xxh3_128) throw DataError(path + " is not what was written");
}

}  // namespace

const std::string& Manifest::fact(const std::string& name) const {
  const auto found = facts.find(name);
  if (found == facts.end()) throw DataError("the manifest says nothing of " + name);
  return found->second;
}

std::string format_facts(const std::vector<FileFacts>& files) { return to_json(files).dump(); }
std::vector<FileFacts> parse_facts(const std::string& text) { return from_json(Json::parse(text)); }

std::string format_manifest(const Manifest& manifest) {
  const Progress& progress = manifest.progress;
  return sealed({{"format", kFormat},
                 {"step", progress.step},
                 {"optimizer_updates", progress.updates},
                 {"loss_scale", progress.loss_scale},
                 {"good_updates", progress.good_updates},
                 {"recent_norms", progress.skips.norms},
                 {"recent_skips", progress.skips.skipped},
                 {"facts", manifest.facts},
                 {"files", to_json(manifest.files)}});
}

Manifest parse_manifest(const std::string& text) {
  try {
    Json json = Json::parse(text);
    if (json.at("format") != kFormat) {
      throw DataError(fmt::format("manifest.json: expected format \"{}\", got {}", kFormat, json["format"].dump()));
    }
    json.erase("manifest_xxh3_128");
    if (sealed(json) != text) throw DataError("manifest.json is damaged: its hash is another one");
    const auto recent = [&](const char* key) { return json.value(key, Json::array()); };  // older ones have none
    return {.progress = {json.at("step"),
                         json.at("optimizer_updates"),
                         json.at("loss_scale"),
                         json.at("good_updates"),
                         {recent("recent_norms"), recent("recent_skips")}},
            .facts = json.at("facts"),
            .files = from_json(json.at("files"))};
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("manifest.json is damaged: {}", error.what()));
  }
}

FileFacts write_file(FileSystem& files, const std::string& folder, const std::string& name, int64_t bytes,
                     const std::function<void(const ByteSink&)>& fill) {
  const std::string path = folder + "/" + name;
  const std::unique_ptr<OutputFile> file = files.create(path, 0600);
  if (!file) throw StorageError("cannot create " + path + ": it exists");
  file->allocate(bytes);
  Hasher hasher;
  fill([&](const void* data, size_t count) {
    file->write(data, count);
    hasher.add(data, count);
  });
  file->sync();
  file->close();
  return hasher.finish(name);
}

Manifest verify_snapshot(const FileSystem& files, const std::string& folder) {
  const Manifest manifest = parse_manifest(read_text(files, folder + "/manifest.json"));
  for (const FileFacts& facts : manifest.files) verify_file(files, folder + "/" + facts.name, facts);
  return manifest;
}

}  // namespace reprise
