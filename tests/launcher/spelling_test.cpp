#include "launcher/spelling.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

TEST(Spelling, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("layers", "layer"), 1);
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2);
  EXPECT_EQ(edit_distance("modle", "model"), 1);
  EXPECT_EQ(edit_distance("abcd", "badc"), 2);
  EXPECT_EQ(edit_distance("saturday", "sunday"), edit_distance("sunday", "saturday"));
}

TEST(Spelling, NearestIsCloseOrNothing) {
  const std::vector<std::string> names = {"cosine", "constant", "linear", "wsd"};
  EXPECT_EQ(nearest_spelling("cosin", names), "cosine");
  EXPECT_EQ(nearest_spelling("linaer", names), "linear");
  EXPECT_EQ(nearest_spelling("wds", names), "wsd");
  EXPECT_EQ(nearest_spelling("exponential", names), "");
  EXPECT_EQ(nearest_spelling("", names), "");
  EXPECT_EQ(nearest_spelling(std::string(1000, 'x'), names), "");
}

TEST(Spelling, KeysOfTheSameSectionComeFirst) {
  const std::vector<std::string> keys = {"run.steps", "model.heads", "model.layers", "batch.micro_sequences", "model"};
  EXPECT_EQ(nearest_key("model.layer", keys), "model.layers");
  EXPECT_EQ(nearest_key("run.micro_sequences", keys), "batch.micro_sequences");
  EXPECT_EQ(nearest_key("modle", keys), "model");
  EXPECT_EQ(nearest_key("steps", keys), "run.steps");
  EXPECT_EQ(nearest_key("modle.x", keys), "model");
  EXPECT_EQ(nearest_key("colour.x", keys), "");
}

}  // namespace
}  // namespace reprise
