#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <optional>

#include "tests/scratch.h"
#include "training/errors.h"
#include "training/file_system.h"

namespace reprise {
namespace {

// Files of this process may not grow beyond so many bytes: a write stops short, the next fails. Needs no rights, unlike
// a full file system.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST(DurableFile, AppearsWholeAtCommitAndReplacesTheOlderOne) {
  const Scratch scratch;
  const std::string path = scratch / "file";
  put(path, "older");
  DurableFile file(path);
  file.write("new", 3);
  file.write("est", 3);
  EXPECT_EQ(contents(path), "older");
  file.commit();
  EXPECT_EQ(contents(path), "newest");
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"file"});
}

TEST(DurableFile, OverwritesInPlaceAndGoesOnAppending) {
  const Scratch scratch;
  DurableFile file(scratch / "file");
  file.write("0000data", 8);
  file.overwrite(0, "head", 4);
  file.write("more", 4);
  file.commit();
  EXPECT_EQ(contents(scratch / "file"), "headdatamore");
}

TEST(DurableFile, IsRemovedUnlessCommitted) {
  const Scratch scratch;
  put(scratch / "file", "older");
  {
    DurableFile file(scratch / "file");
    file.write("half", 4);
    EXPECT_EQ(scratch.names().size(), 2u);
  }
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"file"});
  EXPECT_EQ(contents(scratch / "file"), "older");
}

TEST(DurableFile, TwoWritersOfOnePathDoNotMeet) {
  const Scratch scratch;
  DurableFile first(scratch / "file"), second(scratch / "file");
  first.write("first", 5);
  second.write("second", 6);
  first.commit();
  EXPECT_EQ(contents(scratch / "file"), "first");
  second.commit();
  EXPECT_EQ(contents(scratch / "file"), "second");
}

TEST(DurableFile, HonoursTheUmask) {
  const Scratch scratch;
  const auto mode_under = [&](mode_t mask) {
    const mode_t before = ::umask(mask);
    write_durably(scratch / "file", "text");
    ::umask(before);
    struct stat facts = {};
    ::stat((scratch / "file").c_str(), &facts);
    return facts.st_mode & 0777;
  };
  EXPECT_EQ(mode_under(022), 0644u);
  EXPECT_EQ(mode_under(077), 0600u);
}

TEST(DurableFile, AWriteThatStopsShortIsAnErrorThatNamesPathAndReason) {
  const Scratch scratch;
  const std::string path = scratch / "file";
  put(path, "older");
  const std::string text(100'000, 'x');
  const FileSizeLimit limit(65'536);
  const std::string message = message_of<StorageError>([&] { write_durably(path, text); });
  EXPECT_TRUE(has(message, path)) << message;
  EXPECT_TRUE(has(message, "File too large")) << message;
  EXPECT_EQ(contents(path), "older");
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"file"});
}

TEST(DurableFile, AMissingFolderIsAnError) {
  const Scratch scratch;
  const std::string path = scratch / "missing/file";
  const std::string message = message_of<StorageError>([&] { write_durably(path, "text"); });
  EXPECT_TRUE(has(message, path)) << message;
  EXPECT_TRUE(has(message, "there is no folder")) << message;
}

TEST(DurableFile, AFailedRenameLeavesNoTemporaryFile) {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "folder");
  const std::string message = message_of<StorageError>([&] { write_durably(scratch / "folder", "text"); });
  EXPECT_TRUE(has(message, "Is a directory")) << message;
  EXPECT_EQ(scratch.names(), std::vector<std::string>{"folder"});
}

}  // namespace
}  // namespace reprise
