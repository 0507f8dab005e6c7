#include "training/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/scratch.h"
#include "training/errors.h"

namespace reprise {
namespace {

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  return a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

TEST(Safetensors, BringsBackEveryDtypeShapeAndTheMetadata) {
  const Scratch scratch;
  const std::string path = scratch / "model.safetensors";
  std::vector<NamedTensor> written;
  for (const auto dtype : {torch::kUInt8, torch::kInt8, torch::kInt16, torch::kFloat16, torch::kBFloat16, torch::kInt32,
                           torch::kFloat32, torch::kInt64, torch::kFloat64, torch::kUInt16, torch::kUInt32,
                           torch::kUInt64, torch::kBool, torch::kFloat8_e4m3fn, torch::kFloat8_e5m2}) {
    written.push_back({torch::toString(dtype), torch::randn({3, 5}).mul(20).abs().to(dtype)});
  }
  written.push_back({"scalar", torch::tensor(2.5f)});
  written.push_back({"empty", torch::empty({0, 7})});
  write_safetensors(path, written, {{"step", "20"}, {"note", "caf\u00e9 \"quoted\""}});

  const SafetensorsFile read = read_safetensors(path);
  ASSERT_EQ(read.tensors.size(), written.size());
  for (const NamedTensor& named : written) {
    EXPECT_TRUE(same_bits(read.tensors.at(named.name), named.tensor)) << named.name;
  }
  EXPECT_EQ(read.metadata, (std::map<std::string, std::string>{{"step", "20"}, {"note", "caf\u00e9 \"quoted\""}}));
}

TEST(Safetensors, AlignsTheDataAndEveryTensorToItsElement) {
  const Scratch scratch;
  const std::string path = scratch / "model.safetensors";
  write_safetensors(path,
                    {{"bytes", torch::ones({3}, torch::kUInt8)},
                     {"doubles", torch::ones({2}, torch::kFloat64)},
                     {"halves", torch::ones({1}, torch::kFloat16)},
                     {"floats", torch::ones({1})}},
                    {});
  const std::string text = contents(path);
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const auto header = nlohmann::json::parse(text.substr(8, length));
  EXPECT_EQ(header["doubles"]["data_offsets"], nlohmann::json({0, 16}));
  EXPECT_EQ(header["floats"]["data_offsets"], nlohmann::json({16, 20}));
  EXPECT_EQ(header["halves"]["data_offsets"], nlohmann::json({20, 22}));
  EXPECT_EQ(header["bytes"]["data_offsets"], nlohmann::json({22, 25}));
}

TEST(Safetensors, TensorsOutliveTheResultAndNeverWriteToTheFile) {
  const Scratch scratch;
  const std::string path = scratch / "model.safetensors";
  write_safetensors(path, {{"w", torch::ones({4})}}, {});
  const std::string before = contents(path);
  torch::Tensor w = read_safetensors(path).tensors.at("w");
  EXPECT_TRUE(w.equal(torch::ones({4})));
  w.fill_(7);
  EXPECT_EQ(contents(path), before);
}

TEST(Safetensors, ReadsTensorsThatAreNotAligned) {
  const Scratch scratch;
  const float value = 1.5f;
  std::string data(1, '\7');
  data.append(reinterpret_cast<const char*>(&value), 4);
  put(scratch / "f",
      file_of("{\"b\":" + entry("U8", "[1]", "[0,1]") + ",\"f\":" + entry("F32", "[1]", "[1,5]") + "}", data));
  const SafetensorsFile read = read_safetensors(scratch / "f");
  EXPECT_EQ(read.tensors.at("f").item<float>(), 1.5f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(read.tensors.at("f").const_data_ptr()) % 4, 0u);
}

TEST(Safetensors, RefusesToWriteWhatTheFormatCannotSay) {
  const Scratch scratch;
  const torch::Tensor ones = torch::ones({2, 2});
  const auto writing = [&](const std::vector<NamedTensor>& tensors) {
    return [&, tensors] { write_safetensors(scratch / "f", tensors, {}); };
  };
  EXPECT_THROW(writing({{"w", ones}, {"w", ones}})(), std::invalid_argument);
  EXPECT_THROW(writing({{"__metadata__", ones}})(), std::invalid_argument);
  EXPECT_THROW(writing({{"w", torch::rand({2, 3}).t()}})(), std::invalid_argument);
  EXPECT_THROW(writing({{"w", ones.to(torch::kComplexFloat)}})(), std::invalid_argument);
  EXPECT_TRUE(scratch.names().empty());
}

struct Malformed {
  const char* name;
  std::string file;
  const char* reason;
};

std::vector<Malformed> malformed() {
  const std::string one = "{\"a\":" + entry("U8", "[4]", "[0,4]") + "}";
  const std::string data(8, 'x');
  const auto single = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return file_of("{\"a\":" + entry(dtype, shape, offsets) + "}", data);
  };
  const auto pair = [&](const std::string& first, const std::string& second) {
    return file_of("{\"a\":" + entry("U8", "[4]", first) + ",\"b\":" + entry("U8", "[4]", second) + "}", data);
  };
  std::string huge_header(8, '\xff');
  huge_header[7] = '\x7f';
  return {
      {"Empty", "", "too short"},
      {"NoLength", "1234567", "too short"},
      {"LengthAboveLimit", huge_header + "{}", "more than the format allows"},
      {"LengthBeyondFile", file_of(one, "").substr(0, 20), "in a file of"},
      {"NoHeader", file_of("", data), "begin with {"},
      {"HeaderIsAList", file_of("[]", ""), "begin with {"},
      {"LeadingSpace", file_of(" " + one, data.substr(4)), "begin with {"},
      {"BrokenJson", file_of("{\"a\":", data), "not valid JSON"},
      {"InvalidUtf8", file_of("{\"\xff\":1}", data), "not valid JSON"},
      {"NestedTooDeeply", file_of("{\"a\":[[[[[]]]]]}", data), "nested too deeply"},
      {"RepeatedName",
       file_of("{\"a\":" + entry("U8", "[8]", "[0,8]") + ",\"a\":" + entry("U8", "[8]", "[0,8]") + "}", data),
       "used twice"},
      {"RepeatedField", file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}})", data),
       "used twice"},
      {"MissingField", file_of(R"({"a":{"dtype":"U8","shape":[8]}})", data), "expected exactly"},
      {"UnknownField", file_of(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1}})", data),
       "expected exactly"},
      {"EntryIsANumber", file_of(R"({"a":1})", data), "expected exactly"},
      {"UnknownDtype", single("F31", "[8]", "[0,8]"), "unknown dtype"},
      {"DtypeIsANumber", file_of(R"({"a":{"dtype":1,"shape":[8],"data_offsets":[0,8]}})", data), "unknown dtype"},
      {"NeitherTrueNorFalse", single("BOOL", "[8]", "[0,8]"), "neither 0 nor 1"},
      {"ShapeIsANumber", single("U8", "8", "[0,8]"), "not a list"},
      {"NegativeSize", single("U8", "[-8]", "[0,8]"), "bad number -8"},
      {"FractionalSize", single("U8", "[8.0]", "[0,8]"), "bad number"},
      {"SizeBeyond64Bits", single("U8", "[18446744073709551616]", "[0,8]"), "bad number"},
      {"ShapeOverflows", single("U8", "[4294967296,4294967296,2]", "[0,8]"), "too large"},
      {"EmptyShapeOverflows", single("U8", "[0,4294967296,4294967296]", "[0,0]"), "too large"},
      {"BytesOverflow", single("F64", "[4611686018427387904]", "[0,8]"), "disagree"},
      {"ShapeDisagrees", single("F32", "[3]", "[0,8]"), "disagree"},
      {"ThreeOffsets", single("U8", "[8]", "[0,4,8]"), "not two numbers"},
      {"OffsetsDescend", single("U8", "[0]", "[8,0]"), "outside the file"},
      {"OffsetBeyondFile", single("U8", "[9]", "[0,9]"), "outside the file"},
      {"Overlap", pair("[0,4]", "[3,7]"), "overlaps"},
      {"SameBytesTwice", pair("[0,4]", "[0,4]"), "overlaps"},
      {"GapBefore", single("U8", "[7]", "[1,8]"), "gap"},
      {"GapBetween",
       file_of("{\"a\":" + entry("U8", "[3]", "[0,3]") + ",\"b\":" + entry("U8", "[4]", "[4,8]") + "}", data), "gap"},
      {"TrailingBytes", single("U8", "[4]", "[0,4]"), "4 bytes after the last tensor"},
      {"NoTensorsButData", file_of("{}", data), "8 bytes after the last tensor"},
      {"MetadataIsAList", file_of("{\"__metadata__\":[]}", ""), "not an object"},
      {"MetadataNotText", file_of("{\"__metadata__\":{\"step\":1}}", ""), "not a string"},
  };
}

TEST(Safetensors, RefusesMalformedFilesAndNamesFileAndReason) {
  const Scratch scratch;
  for (const Malformed& bad : malformed()) {
    SCOPED_TRACE(bad.name);
    const std::string path = scratch / bad.name;
    put(path, bad.file);
    const std::string message = message_of<DataError>([&] { read_safetensors(path); });
    EXPECT_TRUE(has(message, path)) << message;
    EXPECT_TRUE(has(message, bad.reason)) << message;
  }
}

TEST(Safetensors, RefusesEveryTruncationOfAFile) {
  const Scratch scratch;
  write_safetensors(scratch / "whole", {{"w", torch::ones({3})}, {"b", torch::ones({2}, torch::kInt16)}}, {{"k", "v"}});
  const std::string whole = contents(scratch / "whole");
  for (size_t length = 0; length < whole.size(); ++length) {
    put(scratch / "cut", whole.substr(0, length));
    EXPECT_THROW(read_safetensors(scratch / "cut"), DataError) << length;
  }
}

TEST(Safetensors, RefusesWhatIsNotAFile) {
  const Scratch scratch;
  EXPECT_THROW(read_safetensors(scratch / "missing"), DataError);
  EXPECT_THROW(read_safetensors(scratch.path()), DataError);
}

}  // namespace
}  // namespace reprise
