// ctest-labels: root
// Mounts a file system of 64 KiB; fails, rather than skips, where that is not allowed.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/scratch.h"
#include "training/errors.h"
#include "training/file_system.h"
#include "training/prepare.h"
#include "training/token_data.h"

namespace reprise {
namespace {

class SmallDisk {
 public:
  SmallDisk() {
    if (::mount("tmpfs", scratch_.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
      throw std::runtime_error(std::string("cannot mount a tmpfs: ") + std::strerror(errno));
    }
  }
  ~SmallDisk() { ::umount(scratch_.path().c_str()); }
  const Scratch& scratch() const { return scratch_; }

 private:
  Scratch scratch_;
};

TEST(FullDisk, DurableFileKeepsTheOlderOne) {
  const SmallDisk disk;
  const std::string path = disk.scratch() / "file";
  write_durably(path, "older");
  const std::string message = message_of<StorageError>([&] { write_durably(path, std::string(100'000, 'x')); });
  EXPECT_TRUE(has(message, path)) << message;
  EXPECT_TRUE(has(message, "No space left on device")) << message;
  EXPECT_EQ(contents(path), "older");
  EXPECT_EQ(disk.scratch().names(), std::vector<std::string>{"file"});
}

TEST(FullDisk, AHalfPreparedDirectoryIsNotTakenForWhole) {
  const SmallDisk disk;
  const Scratch input;
  put(input / "small.txt", std::string(1'000, 'a'));
  put(input / "large.txt", std::string(100'000, 'b'));
  const std::string directory = disk.scratch().path();
  prepare_data({input / "small.txt"}, directory, "bytes", {});
  EXPECT_EQ(TokenShards(directory, "train").tokens(), 951);

  EXPECT_THROW(prepare_data({input / "large.txt"}, directory, "bytes", {}), StorageError);
  const std::string message = message_of<DataError>([&] { TokenShards(directory, "train"); });
  EXPECT_TRUE(has(message, "did not end")) << message;
}

}  // namespace
}  // namespace reprise
