#include "training/prepare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/scratch.h"
#include "tests/training/shards.h"
#include "training/errors.h"
#include "training/token_data.h"

namespace reprise {
namespace {

// All tokens of a split; ends of documents as '|'.
std::string text_of(const std::string& directory, const std::string& split) {
  std::string text;
  for (const std::string& path : shard_paths(directory, split)) {
    for (const int64_t token : tokens_of(path)) text.push_back(token == 256 ? '|' : static_cast<char>(token));
  }
  return text;
}

std::vector<std::string> documents_of(const std::string& directory, const std::string& split) {
  std::istringstream stream(text_of(directory, split));
  std::vector<std::string> documents;
  for (std::string document; std::getline(stream, document, '|');) documents.push_back(document);
  return documents;
}

class Prepare : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    put(input_ / name, text);
    return input_ / name;
  }
  std::vector<std::string> numbered_files(int count, const std::string& prefix = "document ") {
    std::vector<std::string> files;
    for (int i = 0; i < count; ++i) files.push_back(file("f" + std::to_string(i), prefix + std::to_string(i)));
    return files;
  }
  DatasetInfo prepare(const std::vector<std::string>& files) { return prepare_data(files, out_.path(), "bytes", {}); }

  Scratch input_, out_;
};

TEST_F(Prepare, FewDocumentsGiveTheirLastTwentieth) {
  const DatasetInfo info = prepare(
      {file("a.txt", std::string(38, 'a') + "AA"), file("b.txt", "bbbb"), file("c.txt", std::string(20, 'c') + "C")});
  EXPECT_EQ(text_of(out_.path(), "train"), std::string(38, 'a') + "|bbbb|" + std::string(20, 'c') + "|");
  EXPECT_EQ(text_of(out_.path(), "validation"), "AA|C|");
  EXPECT_EQ(info.documents, 3);
  EXPECT_EQ(info.train_tokens, 38 + 4 + 20 + 3);
  EXPECT_EQ(info.validation_tokens, 5);
  EXPECT_EQ(info.bytes_per_token, 3.0 / 5.0);
}

TEST_F(Prepare, ManyDocumentsGiveEveryTwentiethWhole) {
  const std::vector<std::string> files = numbered_files(100);
  const DatasetInfo info = prepare(files);
  const std::vector<std::string> train = documents_of(out_.path(), "train");
  const std::vector<std::string> validation = documents_of(out_.path(), "validation");
  EXPECT_EQ(info.documents, 100);
  EXPECT_EQ(train.size(), 95u);
  EXPECT_EQ(validation.size(), 5u);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(validation.begin(), validation.end());
  EXPECT_EQ(all.size(), 100u);
  EXPECT_EQ(std::count(train.begin(), train.end(), "document 0") +
                std::count(validation.begin(), validation.end(), "document 0"),
            1);
}

TEST_F(Prepare, TheSplitDependsOnContentsAndNotOnTheirOrder) {
  std::vector<std::string> files = numbered_files(60);
  prepare(files);
  std::vector<std::string> held_out = documents_of(out_.path(), "validation");
  std::reverse(files.begin(), files.end());
  prepare(files);
  std::vector<std::string> reversed = documents_of(out_.path(), "validation");
  EXPECT_EQ(reversed.size(), 3u);
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_EQ(reversed, held_out);
}

TEST_F(Prepare, EqualDocumentsAreNeverOnBothSides) {
  std::vector<std::string> files = numbered_files(40);
  const std::vector<std::string> twice = files;
  files.insert(files.end(), twice.begin(), twice.end());
  prepare(files);
  std::vector<std::string> validation = documents_of(out_.path(), "validation");
  EXPECT_EQ(validation.size(), 4u);
  for (const std::string& document : documents_of(out_.path(), "train")) {
    EXPECT_EQ(std::count(validation.begin(), validation.end(), document), 0) << document;
  }
}

TEST_F(Prepare, ManyEqualDocumentsCountAsOne) {
  prepare(std::vector<std::string>(40, file("a", "0123456789012345678x")));
  EXPECT_EQ(documents_of(out_.path(), "train"), std::vector<std::string>(40, "0123456789012345678"));
  EXPECT_EQ(documents_of(out_.path(), "validation"), std::vector<std::string>(40, "x"));
}

TEST_F(Prepare, AJsonLineIsADocument) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "{\"id\": 1, \"text\": \"li\\u006ee\\n" + std::to_string(i) + "\"}\r\n";
  lines += "\n  \n{\"text\": \"\"}\n{\"text\": \"the last one\"}";  // blank lines and empty texts are passed over
  const DatasetInfo info = prepare({file("corpus.jsonl", lines)});
  EXPECT_EQ(info.documents, 41);
  const std::string text = text_of(out_.path(), "train") + text_of(out_.path(), "validation");
  EXPECT_TRUE(has(text, "line\n17|")) << text;
  EXPECT_TRUE(has(text, "the last one|")) << text;
  EXPECT_EQ(documents_of(out_.path(), "validation").size(), 2u);
}

TEST_F(Prepare, RefusesMalformedJsonLinesWithFileAndLine) {
  const std::string good = R"({"text": "fine"})"
                           "\n";
  for (const std::string bad :
       {"{\"text\": ", "[]", "{\"texts\": \"x\"}", "{\"text\": 3}", "\"text\"", "{\"text\": \"\xff\"}"}) {
    const std::string path = file("bad.jsonl", good + "\n" + bad + "\n" + good);
    const std::string message = message_of<DataError>([&] { prepare({path}); });
    EXPECT_TRUE(has(message, path + ":3: ")) << message;
  }
  const std::string number = file("number.jsonl", "{\"text\": 3}");
  EXPECT_TRUE(has(message_of<DataError>([&] { prepare({number}); }), "expected an object with a string \"text\""));
  EXPECT_TRUE(out_.names().empty());  // nothing is written before everything has been looked at
}

TEST_F(Prepare, RefusesWhatCannotBeReadBeforeTouchingTheDirectory) {
  prepare({file("a", std::string(100, 'a'))});
  const std::vector<std::string> before = out_.names();
  EXPECT_TRUE(has(message_of<DataError>([&] { prepare({input_ / "missing"}); }), "missing"));
  EXPECT_TRUE(has(message_of<DataError>([&] { prepare({input_.path()}); }), "not a regular file"));
  EXPECT_THROW(prepare({}), DataError);
  EXPECT_THROW(prepare({file("empty", "")}), DataError);
  EXPECT_THROW(prepare({file("tiny", "0123456789012345678")}), DataError);  // 19 bytes have no twentieth
  EXPECT_THROW(prepare_data({input_ / "a"}, out_.path(), "words", {}), DataError);
  EXPECT_EQ(out_.names(), before);
  EXPECT_EQ(read_dataset_info(out_.path()).train_tokens, 96);
}

TEST_F(Prepare, RemovesWhatAKilledPreparationLeft) {
  for (const char* name : {"train_000000.bin.tmp.17.0", "validation_000003.bin.tmp.4.1", "train_000007.bin",
                           "notes_000000.bin.tmp.17.0"}) {
    put(out_ / name, "of another time");
  }
  prepare({file("a", std::string(100, 'a'))});
  EXPECT_EQ(out_.names(), (std::vector<std::string>{"dataset.json", "notes_000000.bin.tmp.17.0", "train_000000.bin",
                                                    "validation_000000.bin"}));
}

TEST_F(Prepare, PassesOverEmptyFiles) {
  const DatasetInfo info = prepare({file("e", ""), file("a", std::string(20, 'a')), file("e2", "")});
  EXPECT_EQ(info.documents, 1);
  EXPECT_EQ(text_of(out_.path(), "train"), std::string(19, 'a') + "|");
}

TEST_F(Prepare, LargeFilesPassThroughInPieces) {
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i) text += std::to_string(i) + " ";
  prepare({file("large", text)});
  const size_t held_out = text.size() / 20;
  EXPECT_TRUE(text_of(out_.path(), "train") == text.substr(0, text.size() - held_out) + "|");
  EXPECT_TRUE(text_of(out_.path(), "validation") == text.substr(text.size() - held_out) + "|");
}

TEST_F(Prepare, TellsProgressOverBothReadings) {
  const std::vector<std::string> files{file("a", std::string(2'500'000, 'a')),
                                       file("b.jsonl", "{\"text\": \"bb\"}\n{\"text\": \"c\"}")};
  int64_t last = 0, total = 0;
  prepare_data(files, out_.path(), "bytes", [&](int64_t done, int64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
  });
  EXPECT_EQ(total, 2 * (2'500'000 + 15 + 13));
  EXPECT_EQ(last, total);
}

TEST_F(Prepare, PreparingAgainReplacesEverything) {
  prepare({file("a", std::string(100, 'a'))});
  put(out_ / "train_000007.bin", contents(out_ / "train_000000.bin"));  // of an older, larger corpus
  put(out_ / "mine.txt", "stays");
  prepare({file("b", std::string(40, 'b'))});
  EXPECT_EQ(out_.names(),
            (std::vector<std::string>{"dataset.json", "mine.txt", "train_000000.bin", "validation_000000.bin"}));
  EXPECT_EQ(TokenShards(out_.path(), "train").tokens(), 39);
}

TEST_F(Prepare, AFolderInTheWayIsRefusedAndKept) {
  const std::filesystem::path kept = std::filesystem::path(out_.path()) / "train_old.bin" / "notes";
  std::filesystem::create_directories(kept);
  EXPECT_THROW(prepare(numbered_files(30)), std::filesystem::filesystem_error);
  EXPECT_TRUE(std::filesystem::exists(kept));
}

TEST_F(Prepare, AnInterruptedPreparationIsNotTakenForWhole) {
  prepare({file("a", std::string(100, 'a'))});
  const std::string b = file("b", std::string(2'000'000, 'b'));
  struct Interrupted {};
  const auto interrupt = [](int64_t done, int64_t total) {
    if (done > total / 2 + 1'000'000) throw Interrupted{};
  };
  EXPECT_THROW(prepare_data({b}, out_.path(), "bytes", interrupt), Interrupted);
  EXPECT_TRUE(has(message_of<DataError>([&] { read_dataset_info(out_.path()); }), "did not end"));
  EXPECT_THROW(TokenShards(out_.path(), "train"), DataError);
  EXPECT_EQ(out_.names(), std::vector<std::string>{"dataset.json"});
  prepare({b});
  EXPECT_EQ(TokenShards(out_.path(), "train").tokens(), 1'900'001);
}

TEST_F(Prepare, NoticesAFileThatChangesMeanwhile) {
  for (const std::string& after : {std::string(999, 'a'), std::string(1001, 'a'), std::string(1000, 'b')}) {
    const std::string path = file("a", std::string(1000, 'a'));
    const auto change = [&](int64_t done, int64_t) {
      if (done == 1000) put(path, after);
    };
    EXPECT_TRUE(has(message_of<DataError>([&] { prepare_data({path}, out_.path(), "bytes", change); }), "changed"));
    EXPECT_THROW(read_dataset_info(out_.path()), DataError);
  }
}

TEST_F(Prepare, NoticesDocumentsThatComeOrGoMeanwhile) {
  const std::string line = "{\"text\": \"" + std::string(30, 'a') + "\"}\n";
  for (const std::string& after : {line, line + line + line}) {
    const std::string path = file("a.jsonl", line + line);
    const auto change = [&](int64_t done, int64_t) {
      if (done == 2 * std::ssize(line)) put(path, after);
    };
    EXPECT_TRUE(has(message_of<DataError>([&] { prepare_data({path}, out_.path(), "bytes", change); }), "changed"));
    EXPECT_THROW(read_dataset_info(out_.path()), DataError);
  }
}

}  // namespace
}  // namespace reprise
