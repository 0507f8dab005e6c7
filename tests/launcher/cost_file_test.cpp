#include "launcher/cost_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/checkpointing/random_costs.h"
#include "tests/scratch.h"
#include "training/errors.h"

namespace reprise {
namespace {

using Json = nlohmann::json;

// A table of eight stages, to be spoilt.
Json sound() { return Json::parse(format_costs(random_costs::Maker(1).make(random_costs::Kind::log_normal, 8, 1.0))); }

// What the reader says of it; empty: it reads it.
std::string complaint(const std::string& text) {
  try {
    parse_costs(text, "costs.json");
    return "";
  } catch (const DataError& error) {
    return error.what();
  }
}

TEST(CostFile, RoundTripIsExact) {
  for (const random_costs::Kind kind : random_costs::kKinds) {
    for (const double ratio : {0.0, 1.0}) {
      random_costs::Maker maker(7);
      CostTable costs = maker.make(kind, 9, ratio, 3, 0.25);
      maker.add_early(costs);
      const std::string text = format_costs(costs);
      const CostTable back = parse_costs(text, "again");
      EXPECT_EQ(format_costs(back), text);
      EXPECT_EQ(back.micro_batches, 3);
      EXPECT_EQ(back.wire.has_value(), ratio > 0);
      EXPECT_EQ(compute_share_of(back), ratio > 0 ? 0.25 : 0);
      for (int s = 0; s < costs.size(); ++s) {
        EXPECT_EQ(back[s].name, costs[s].name);
        EXPECT_EQ(back[s].layer, costs[s].layer);
        EXPECT_EQ(back[s].recomputable, costs[s].recomputable);
        EXPECT_EQ(back[s].forward_seconds, costs[s].forward_seconds);
        EXPECT_EQ(back[s].early_stop_seconds, costs[s].early_stop_seconds);
        EXPECT_EQ(back[s].late_seconds, costs[s].late_seconds);
        EXPECT_EQ(back[s].at(SaveLevel::lean).extra_seconds, costs[s].at(SaveLevel::lean).extra_seconds);
        EXPECT_EQ(back[s].at(SaveLevel::input).kept_bytes, costs[s].at(SaveLevel::input).kept_bytes);
      }
    }
  }
}

TEST(CostFile, ReadsTheDocumentedForm) {
  const CostTable costs = parse_costs(R"({
    "format": "reprise.costs/1", "device": "cpu", "micro_sequences": 4, "tokens": 1024, "base_bytes": 100,
    "optimizer_seconds": 0.5, "wire": {"latency_seconds": 5e-5, "bytes_per_second": 1.2e8},
    "buckets": [{"stages": [1, 1], "bytes": 1200}, {"stages": [1, 1], "bytes": 0}, {"stages": [0, 1], "bytes": 2.4e3}],
    "comment": "left alone",
    "stages": [
      {"name": "embedding", "layer": null, "recomputable": false, "forward_seconds": 1, "backward_seconds": 2,
       "boundary_bytes": 9, "saves": {
         "all": {"kept_bytes": 5, "extra_seconds": 0, "forward_workspace_bytes": 1, "backward_workspace_bytes": 2},
         "lean": {"kept_bytes": 4, "extra_seconds": 0.25, "forward_workspace_bytes": 1, "backward_workspace_bytes": 2},
         "input": {"kept_bytes": 3, "extra_seconds": 0.5,
                   "forward_workspace_bytes": 1, "backward_workspace_bytes": 2}}},
      {"name": "layer0.attention", "layer": 0, "recomputable": true, "forward_seconds": 1, "backward_seconds": 2,
       "boundary_bytes": 3, "saves": {
         "all": {"kept_bytes": 5, "extra_seconds": 0, "forward_workspace_bytes": 1, "backward_workspace_bytes": 2},
         "lean": {"kept_bytes": 4, "extra_seconds": 0.25, "forward_workspace_bytes": 1, "backward_workspace_bytes": 2},
         "input": {"kept_bytes": 3, "extra_seconds": 0.5, "forward_workspace_bytes": 1, "backward_workspace_bytes": 7}}}
    ]})",
                                      "text");
  EXPECT_EQ(costs.micro_batches, 1);
  EXPECT_EQ(costs.size(), 2);
  EXPECT_EQ(costs[0].layer, -1);
  EXPECT_EQ(costs[1].layer, 0);
  EXPECT_EQ(costs[1].early_stop_seconds, 0);
  EXPECT_EQ(costs[1].at(SaveLevel::input).backward_workspace_bytes, 7);
  EXPECT_EQ(costs.buckets[2].bytes, 2400);
  const std::vector<double> wire = wire_seconds_up_to(costs);
  EXPECT_DOUBLE_EQ(wire[0], 5e-5 + 2e-5);
  EXPECT_DOUBLE_EQ(wire[2], 3 * 5e-5 + 3e-5);  // the two buckets of stage 1 add up
}

TEST(CostFile, RefusesWhatIsNotSoundAndNamesIt) {
  const struct {
    const char* pointer;
    Json value;
    const char* message;
  } cases[] = {
      {"/format", "reprise.costs/2", "costs.json: format: expected \"reprise.costs/1\", got \"reprise.costs/2\""},
      {"/stages/1/saves/lean/kept_bytes", 3,
       "costs.json: stages[1].saves.lean.kept_bytes: expected at least boundary_bytes"},
      {"/stages/1/saves/all/kept_bytes", -1, "stages[1].saves.all.kept_bytes: expected a whole number from 0"},
      {"/stages/1/saves/all/kept_bytes", 1.5, "stages[1].saves.all.kept_bytes: expected a whole number from 0"},
      {"/stages/1/saves/all/kept_bytes", 1e30, "stages[1].saves.all.kept_bytes: expected a whole number from 0"},
      {"/stages/2/boundary_bytes", uint64_t{1} << 63, "stages[2].boundary_bytes: expected a whole number from 0"},
      {"/stages/2/forward_seconds", -1e-3, "stages[2].forward_seconds: expected seconds"},
      {"/stages/2/early_stop_seconds", 1e9, "stages[2].early_stop_seconds: expected seconds, at most forward_seconds"},
      {"/stages/2/late_seconds", 1e9, "stages[2].late_seconds: expected seconds, at most backward_seconds"},
      {"/buckets/0/is_early", 1, "buckets[0].is_early: expected true or false"},
      {"/stages/2/backward_seconds", "fast", "stages[2].backward_seconds: expected seconds"},
      {"/stages/2/backward_seconds", 1e10, "stages[2].backward_seconds: expected seconds"},
      {"/stages/2/backward_seconds", nullptr, "stages[2].backward_seconds: expected seconds"},
      {"/stages/2/saves/input/extra_seconds", -0.5, "stages[2].saves.input.extra_seconds: expected seconds"},
      {"/stages/0/recomputable", 1, "stages[0].recomputable: expected true or false"},
      {"/stages/0/name", 5, "stages[0].name: expected a text"},
      {"/stages/2/layer", -2, "stages[2].layer: expected a whole number from 0"},
      {"/stages/1/layer", 5, "stages[2].layer: expected at least 5"},
      {"/stages/1", 7, "stages[1]: expected an object, got 7"},
      {"/stages", Json::array(), "costs.json: stages: expected 1 to 8194 elements, got 0"},
      {"/stages", Json(std::vector<int>(8195)), "costs.json: stages: expected 1 to 8194 elements, got 8195"},
      {"/stages", "none", "costs.json: stages: expected a list"},
      {"/buckets/0/stages", {0, 8}, "buckets[0].stages[1]: expected a whole number from 0 to 7, got 8"},
      {"/buckets/0/stages", {-1, 2}, "buckets[0].stages[0]: expected a whole number from 0 to 7"},
      {"/buckets/0/stages", {3, 2}, "buckets[0].stages[1]: expected a whole number from 3 to 7"},
      {"/buckets/0/stages", {2}, "buckets[0].stages: expected 2 elements, got 1"},
      {"/buckets/1/stages", {7, 7}, "buckets[1].stages[0]: expected at most 2, since lowest stages never increase"},
      {"/buckets/0/bytes", -4, "buckets[0].bytes: expected a whole number from 0"},
      {"/wire/bytes_per_second", 0, "wire.bytes_per_second: expected bytes per second"},
      {"/wire/latency_seconds", -1, "wire.latency_seconds: expected seconds"},
      {"/wire/compute_share", 1.5, "wire.compute_share: expected a share, a number from 0 to 1"},
      {"/wire", 3, "costs.json: wire: expected an object"},
      {"/micro_batches", 0, "costs.json: micro_batches: expected a whole number from 1"},
      {"/micro_sequences", 0, "costs.json: micro_sequences: expected a whole number from 1"},
      {"/base_bytes", -1, "costs.json: base_bytes: expected a whole number from 0"},
      {"/optimizer_seconds", "x", "costs.json: optimizer_seconds: expected seconds"},
  };
  for (const auto& [pointer, value, message] : cases) {
    Json spoilt = sound();
    spoilt[Json::json_pointer(pointer)] = value;
    const std::string said = complaint(spoilt.dump());
    EXPECT_NE(said.find(message), std::string::npos) << pointer << " = " << value << ": " << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    EXPECT_LT(said.size(), 200u) << said;
  }
}

TEST(CostFile, TakesTheDeepestModelOfAConfiguration) {
  const std::string text = format_costs(random_costs::Maker(1).make(random_costs::Kind::log_normal, 8194, 1.0));
  EXPECT_EQ(parse_costs(text, "costs.json").size(), 8194);
}

TEST(CostFile, RefusesMissingKeys) {
  for (const char* key : {"format", "device", "micro_sequences", "tokens", "base_bytes", "optimizer_seconds", "wire",
                          "buckets", "stages"}) {
    Json spoilt = sound();
    spoilt.erase(key);
    EXPECT_EQ(complaint(spoilt.dump()), "costs.json: expected a key \"" + std::string(key) + "\", got none");
  }
  Json spoilt = sound();
  spoilt["stages"][2]["saves"].erase("lean");
  EXPECT_EQ(complaint(spoilt.dump()), "costs.json: stages[2].saves: expected a key \"lean\", got none");
  spoilt = sound();
  spoilt.erase("micro_batches");
  EXPECT_EQ(complaint(spoilt.dump()), "");
}

TEST(CostFile, RefusesWhatIsNotJson) {
  const std::string text = format_costs(random_costs::Maker(1).make(random_costs::Kind::homogeneous, 4, 1.0));
  std::string with_nan = text;
  const size_t at = with_nan.find("\"optimizer_seconds\": ") + 21;
  with_nan.replace(at, with_nan.find(',', at) - at, "NaN");
  std::string infinite = text;
  infinite.replace(at, infinite.find(',', at) - at, "1e999");
  for (const std::string& bad : {std::string(), std::string("{"), text.substr(0, text.size() / 2), with_nan, infinite,
                                 std::string("[1, 2]"), std::string("\xff\xfe{}")}) {
    const std::string said = complaint(bad);
    EXPECT_EQ(said.rfind("costs.json: ", 0), 0u) << said;
    EXPECT_NE(said.find("JSON"), std::string::npos) << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  }
}

TEST(CostFile, RefusesFilesThatAreMissingOrHuge) {
  EXPECT_THROW(read_costs("no/such/file.json"), DataError);
  EXPECT_THROW(read_costs("/sys"), DataError) << "a folder that has no size";
  const Scratch folder;
  const std::string path = folder / "costs.json";
  put(path, format_costs(random_costs::Maker(1).make(random_costs::Kind::homogeneous, 4, 1.0)));
  EXPECT_EQ(read_costs(path).size(), 4);
  std::filesystem::resize_file(path, 100'000'001);
  EXPECT_THROW(read_costs(path), DataError);
  EXPECT_THROW(read_costs(folder.path()), DataError);
}

}  // namespace
}  // namespace reprise
