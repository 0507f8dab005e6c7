#include "training/dataset.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/training/shards.h"
#include "training/errors.h"

namespace reprise {
namespace {

TEST(DatasetInfo, ComesBackAsWritten) {
  const Scratch scratch;
  const DatasetInfo written{"bytes", 257, 123, 45, 6, 0.9981};
  write_dataset_info(scratch.path(), written);
  const DatasetInfo read = read_dataset_info(scratch.path());
  EXPECT_EQ(read.tokenizer, "bytes");
  EXPECT_EQ(read.vocabulary, 257);
  EXPECT_EQ(read.train_tokens, 123);
  EXPECT_EQ(read.validation_tokens, 45);
  EXPECT_EQ(read.documents, 6);
  EXPECT_EQ(read.bytes_per_token, 0.9981);
}

TEST(DatasetInfo, IsTheDefaultWhenAbsentAndRefusedWhenDamaged) {
  const Scratch scratch;
  EXPECT_EQ(read_dataset_info(scratch.path()).vocabulary, 257);
  write_dataset_info(scratch.path(), {});
  const std::string whole = contents(scratch / "dataset.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    return text.replace(text.find(from), from.size(), to);
  };
  for (const std::string& damaged :
       {std::string(), std::string("{}"), whole.substr(0, whole.size() / 2), with("dataset/1", "dataset/2"),
        with("257", "0"), with("257", "65537"), with("257", "\"257\""), with("\"documents\"", "\"papers\""),
        with("complete", "maybe")}) {
    put(scratch / "dataset.json", damaged);
    EXPECT_TRUE(has(message_of<DataError>([&] { read_dataset_info(scratch.path()); }), scratch / "dataset.json"))
        << damaged;
  }
}

TEST(ShardFile, RefusesDamagedShardsAndNamesThem) {
  const std::vector<uint16_t> four{1, 2, 3, 4};
  const std::string whole = shard_bytes({20240520, 1, 4}, four);
  const std::map<std::string, std::pair<std::string, std::string>> cases{
      {"empty file", {"", "too short"}},
      {"half a header", {whole.substr(0, 600), "too short"}},
      {"magic", {shard_bytes({20240521, 1, 4}, four), "not a token shard"}},
      {"version", {shard_bytes({20240520, 2, 4}, four), "version 2"}},
      {"no tokens", {shard_bytes({20240520, 1, 0}, {}), "holds no tokens"}},
      {"negative count", {shard_bytes({20240520, 1, -4}, four), "holds no tokens"}},
      {"truncated", {whole.substr(0, whole.size() - 1), "has 1031 bytes, its header promises 1032"}},
      {"too long", {whole + "x", "has 1033 bytes, its header promises 1032"}},
  };
  for (const auto& [name, file_and_reason] : cases) {
    SCOPED_TRACE(name);
    const Scratch scratch;
    put(scratch / "train_000000.bin", file_and_reason.first);
    const std::string message = message_of<DataError>([&] { ShardFile(scratch / "train_000000.bin"); });
    EXPECT_TRUE(has(message, scratch / "train_000000.bin")) << message;
    EXPECT_TRUE(has(message, file_and_reason.second)) << message;
  }
}

TEST(ShardWriter, CutsAtTheLimitAndReadsBack) {
  const Scratch scratch;
  ShardWriter writer(scratch.path(), "train", 10);
  for (int first = 0; first < 24; first += 3) writer.write(counting(first, 3));
  writer.finish();
  EXPECT_EQ(writer.tokens(), 24);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"train_000000.bin", "train_000001.bin", "train_000002.bin"}));
  int next = 0;
  for (const std::string& path : shard_paths(scratch.path(), "train")) {
    const ShardFile shard(path);
    for (const uint16_t token : shard.tokens()) EXPECT_EQ(token, next++);
  }
  EXPECT_EQ(next, 24);
}

TEST(ShardWriter, WritesMoreThanItsBuffer) {
  const Scratch scratch;
  ShardWriter writer(scratch.path(), "train");
  for (int i = 0; i < 3; ++i) writer.write(counting(0, 65'536));
  writer.finish();
  const ShardFile shard(scratch / "train_000000.bin");
  ASSERT_EQ(shard.tokens().size(), 3u * 65'536);
  for (size_t i = 0; i < shard.tokens().size(); ++i) ASSERT_EQ(shard.tokens()[i], i % 65'536);
}

}  // namespace
}  // namespace reprise
