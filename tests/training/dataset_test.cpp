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
        with("257", "0"), with("257", "1048577"), with("257", "\"257\""), with("\"documents\"", "\"papers\""),
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
  ShardWriter writer(scratch.path(), "train", 257, 10);
  for (int first = 0; first < 24; first += 3) writer.write(counting<uint32_t>(first, 3));
  writer.finish();
  EXPECT_EQ(writer.tokens(), 24);
  EXPECT_EQ(scratch.names(), (std::vector<std::string>{"train_000000.bin", "train_000001.bin", "train_000002.bin"}));
  int64_t next = 0;
  for (const std::string& path : shard_paths(scratch.path(), "train")) {
    for (const int64_t token : tokens_of(path)) EXPECT_EQ(token, next++);
  }
  EXPECT_EQ(next, 24);
}

TEST(ShardWriter, JoinsWhatItIsGivenInParts) {
  const Scratch scratch;
  ShardWriter writer(scratch.path(), "train", 65536);
  for (int i = 0; i < 3; ++i) writer.write(counting<uint32_t>(0, 65'536));
  writer.finish();
  const std::vector<int64_t> tokens = tokens_of(scratch / "train_000000.bin");
  ASSERT_EQ(tokens.size(), 3u * 65'536);
  for (size_t i = 0; i < tokens.size(); ++i) ASSERT_EQ(tokens[i], static_cast<int64_t>(i % 65'536));
}

TEST(ShardWriter, ALargeVocabularyTakesFourBytesAToken) {
  const Scratch scratch;
  ShardWriter writer(scratch.path(), "train", 65537);
  writer.write(std::vector<uint32_t>{65536, 0, 70000});
  writer.finish();
  const std::string path = scratch / "train_000000.bin";
  EXPECT_EQ(tokens_of(path), (std::vector<int64_t>{65536, 0, 70000}));
  EXPECT_EQ(ShardFile(path).format(), "uint32 (llm.c)");
  EXPECT_EQ(contents(path).substr(0, 1024), shard_bytes({20240801, 7, 3}, {}));
  EXPECT_EQ(contents(path).size(), 1024u + 12u);
  const std::string message = message_of<DataError>([&] {
    int64_t out[3];
    ShardFile(path).read(0, 3, 70000, out);
  });
  EXPECT_TRUE(has(message, path + ": token 2 is 70000, but the vocabulary ends at 69999")) << message;
}

TEST(ShardFile, ReadsNanoGptsFilesByTheirNameAlone) {
  const Scratch scratch;
  const std::string text("\x01\x00\xff\x00\x57\xc3", 6);
  for (const std::string name : {"train.bin", "val.bin"}) {
    put(scratch / name, text);
    EXPECT_EQ(tokens_of(scratch / name), (std::vector<int64_t>{1, 255, 50007}));
    for (const std::string& damaged : {text + "x", std::string()}) {
      put(scratch / name, damaged);
      const std::string message = message_of<DataError>([&] { ShardFile(scratch / name); });
      EXPECT_TRUE(has(message, name + ": expected uint16 tokens without a header")) << message;
    }
  }
  put(scratch / "other.bin", text);
  EXPECT_THROW(ShardFile(scratch / "other.bin"), DataError);
  put_shard(scratch / "train.bin", {5, 6});  // llm.c's format wins
  EXPECT_EQ(tokens_of(scratch / "train.bin"), (std::vector<int64_t>{5, 6}));
}

TEST(ShardPaths, KnowsTheNamesOfOtherPrograms) {
  const Scratch scratch;
  for (const std::string name :
       {"edu_fineweb_train_000001.bin", "edu_fineweb_train_000000.bin", "edu_fineweb_val_000000.bin", "train.bin",
        "val.bin", "tiny_train.bin", "tiny_val.bin", "val_set_train_0.bin", "validation_000000.bin", "meta.bin",
        "training_0.bin", "train_0.txt"}) {
    put(scratch / name, "");
  }
  const auto names = [&](const std::string& split) {
    std::vector<std::string> found;
    for (const std::string& path : shard_paths(scratch.path(), split))
      found.push_back(path.substr(scratch.path().size() + 1));
    return found;
  };
  EXPECT_EQ(names("train"), (std::vector<std::string>{"edu_fineweb_train_000000.bin", "edu_fineweb_train_000001.bin",
                                                      "tiny_train.bin", "train.bin", "val_set_train_0.bin"}));
  EXPECT_EQ(names("validation"), (std::vector<std::string>{"edu_fineweb_val_000000.bin", "tiny_val.bin", "val.bin",
                                                           "validation_000000.bin"}));
  EXPECT_EQ(read_dataset_info(scratch.path()).vocabulary, 0);
  EXPECT_EQ(read_dataset_info(scratch.path()).tokenizer, "none");
  mark_dataset_preparing(scratch.path());  // from here on ours count, no others
  EXPECT_EQ(names("train"), std::vector<std::string>());
  EXPECT_EQ(names("validation"), std::vector<std::string>{"validation_000000.bin"});
}

}  // namespace
}  // namespace reprise
