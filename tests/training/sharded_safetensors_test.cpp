// A model in several safetensors files with an index, and what require_tensors() tells.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/scratch.h"
#include "training/errors.h"
#include "training/safetensors.h"

namespace reprise {
namespace {

class Shards : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(scratch_ / "model");
    write_safetensors(scratch_ / "model/one.safetensors", {{"a", torch::ones({2})}, {"b", torch::zeros({3})}}, {});
    write_safetensors(scratch_ / "model/two.safetensors", {{"c", torch::full({4}, 5.0f)}}, {{"format", "pt"}});
  }
  SafetensorsFile read(const std::string& index) const {
    put(index_, index);
    return read_safetensors(index_);
  }
  std::string error(const std::string& index) const {
    return message_of<DataError>([&] { read(index); });
  }

  const Scratch scratch_;
  const std::string index_ = scratch_ / "model/model.safetensors.index.json";
};

std::string map(const std::string& entries) {
  return R"({"metadata":{"total_size":36},"weight_map":{)" + entries + "}}";
}

TEST_F(Shards, AreReadAsOneFile) {
  const SafetensorsFile whole = read(map(R"("c":"two.safetensors","a":"one.safetensors","b":"one.safetensors")"));
  ASSERT_EQ(whole.tensors.size(), 3u);
  EXPECT_TRUE(whole.tensors.at("a").equal(torch::ones({2})));
  EXPECT_TRUE(whole.tensors.at("c").equal(torch::full({4}, 5.0f)));
  EXPECT_TRUE(whole.metadata.empty());
}

TEST_F(Shards, MustHoldJustWhatTheIndexSays) {
  EXPECT_TRUE(has(error(map(R"("a":"one.safetensors")")), "one.safetensors holds b, which the index does not place"));
  EXPECT_TRUE(has(error(map(R"("a":"one.safetensors","b":"one.safetensors","d":"two.safetensors")")),
                  "two.safetensors holds c"));
  write_safetensors(scratch_ / "model/two.safetensors", {}, {});
  EXPECT_TRUE(has(error(map(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")")),
                  "c is missing in two.safetensors"));
  write_safetensors(scratch_ / "model/two.safetensors", {{"a", torch::ones({2})}}, {});  // a second a
  EXPECT_TRUE(has(error(map(R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")")),
                  "two.safetensors holds a"));
}

TEST_F(Shards, AreNamedWhenMissingOrDamaged) {
  EXPECT_TRUE(has(error(map(R"("a":"three.safetensors")")), "three.safetensors: cannot be read"));
  put(scratch_ / "model/two.safetensors", "short");
  EXPECT_TRUE(has(error(map(R"("c":"two.safetensors")")), "two.safetensors: is too short"));
}

TEST_F(Shards, LieBesideTheIndex) {
  write_safetensors(scratch_ / "outside.safetensors", {{"a", torch::ones({2})}}, {});
  for (const std::string& name :
       {scratch_ / "outside.safetensors", std::string("../outside.safetensors"), std::string("./one.safetensors"),
        std::string("..\\u0000.safetensors"), std::string("model.safetensors.index.json"), std::string("..")}) {
    const std::string message = error(map("\"a\":\"" + name + "\""));
    EXPECT_TRUE(has(message, "a: expected the name of a .safetensors file beside the index")) << message;
  }
  EXPECT_TRUE(has(error(map(R"("a":1)")), "beside the index, got 1"));
}

TEST_F(Shards, NeedAnIndexThatIsOne) {
  EXPECT_TRUE(has(error(""), "not valid JSON"));
  EXPECT_TRUE(has(error("[1]"), "expected a JSON object"));
  EXPECT_TRUE(has(error("{}"), "weight_map is not an object"));
  EXPECT_TRUE(has(error(R"({"weight_map":[]})"), "weight_map is not an object"));
  EXPECT_TRUE(has(error(R"({"weight_map":{}})"), "weight_map names no file"));
  EXPECT_TRUE(has(error(map(R"("a":"one.safetensors","a":"two.safetensors")")), "name used twice in JSON: a"));
  EXPECT_TRUE(has(error(map(R"("a":[[[[1]]]])")), "nested too deeply"));
}

TEST(RequireTensors, TellsAllDifferencesInOneLine) {
  std::map<std::string, torch::Tensor> tensors = {{"a", torch::ones({2, 3})},
                                                  {"b", torch::ones({4}, torch::kBFloat16)}};
  EXPECT_NO_THROW(require_tensors("f", tensors, {{"a", {2, 3}}, {"b", {4}}}));
  EXPECT_EQ(message_of<DataError>([&] {
              require_tensors("f", tensors, {{"a", {3, 2}}, {"c", {1}}});
            }),
            "f: a: expected fp32, fp16 or bf16 of shape 3x2, got Float of shape 2x3; c is missing; b is unexpected");
  tensors["b"] = torch::ones({4}, torch::kInt64);
  EXPECT_TRUE(has(message_of<DataError>([&] {
                    require_tensors("f", tensors, {{"a", {2, 3}}, {"b", {4}}});
                  }),
                  "b: expected fp32, fp16 or bf16 of shape 4, got Long of shape 4"));
  std::vector<ExpectedTensor> many;
  for (int i = 0; i < 20; ++i) many.push_back({"layer" + std::to_string(i), {1}});
  const std::string message = message_of<DataError>([&] { require_tensors("f", {}, many); });
  EXPECT_TRUE(has(message, "layer11 is missing; and 8 more")) << message;
  EXPECT_FALSE(has(message, "layer12"));
}

}  // namespace
}  // namespace reprise
