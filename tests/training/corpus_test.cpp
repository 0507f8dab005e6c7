// The fuzz target's corpus (tests/fuzz) through the same readers: a file's name says whether it is good or bad.
#include <gtest/gtest.h>

#include "tests/fuzz/untrusted.h"
#include "tests/scratch.h"

namespace reprise {
namespace {

TEST(SafetensorsCorpus, GoodFilesAreReadAndBadOnesRefusedByName) {
  const char* source = std::getenv("REPRISE_SOURCE");
  const std::filesystem::path corpus = std::filesystem::path(source ? source : ".") / "tests/fuzz/safetensors_corpus";
  const Scratch scratch;
  int good = 0, bad = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    SCOPED_TRACE(entry.path());
    const std::string refusal = read_untrusted(contents(entry.path()), scratch.path());
    const bool is_good = entry.path().filename().string().starts_with("good_");
    EXPECT_EQ(refusal.empty(), is_good) << refusal;
    EXPECT_TRUE(is_good || refusal.starts_with(scratch.path())) << refusal;
    ++(is_good ? good : bad);
  }
  EXPECT_GE(good, 8);
  EXPECT_GE(bad, 20);
}

}  // namespace
}  // namespace reprise
