#include "monitoring/trace.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "monitoring/json_text.h"
#include "tests/scratch.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

class Trace : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_ / name; }

  std::string write_rank(int rank, double offset) const {
    const std::string file = path("rank-" + std::to_string(rank) + ".json");
    TraceFile trace(file, rank, "rank \"" + std::to_string(rank) + "\"", {"compute", "wire"}, offset);
    trace.span(0, "forward layer0.attention", 1.0, 1.5);
    trace.span(1, "bucket 0", 1.25, 2.0);
    trace.wait("buckets waiting", 7, "bucket 0", 1.125, 1.25);
    trace.counter("tensor MiB", 1.5, 12.5);
    trace.flush();
    return file;
  }

  nlohmann::json merged(const std::vector<std::string>& files) const {
    merge_traces(files, path("all.json"));
    std::ifstream file(path("all.json"));
    return nlohmann::json::parse(file);
  }

  const Scratch folder_;
};

std::vector<nlohmann::json> of_phase(const nlohmann::json& events, const std::string& phase) {
  std::vector<nlohmann::json> chosen;
  for (const auto& event : events) {
    if (event["ph"] == phase) chosen.push_back(event);
  }
  return chosen;
}

TEST_F(Trace, MergedRanksStandOnOneClock) {
  const nlohmann::json events = merged({write_rank(0, 0), write_rank(1, 100)});
  const auto spans = of_phase(events, "X");
  ASSERT_EQ(spans.size(), 4u);
  EXPECT_EQ(spans[0]["name"], "forward layer0.attention");
  EXPECT_EQ(spans[0]["ts"], 1e6);
  EXPECT_EQ(spans[0]["dur"], 0.5e6);
  EXPECT_EQ(spans[0]["tid"], 0);
  EXPECT_EQ(spans[1]["tid"], 1);
  EXPECT_EQ(spans[2]["pid"], 1);
  EXPECT_EQ(spans[2]["ts"], 101e6);
  EXPECT_EQ(of_phase(events, "C")[0]["args"]["value"], 12.5);
  const auto begins = of_phase(events, "b"), ends = of_phase(events, "e");
  ASSERT_EQ(begins.size(), 2u);
  EXPECT_EQ(begins[0]["id"], ends[0]["id"]);
  EXPECT_NE(begins[0]["id"], begins[1]["id"]) << "ranks share no waits";
  EXPECT_EQ(ends[0]["ts"], 1.25e6);
  std::vector<std::string> names;
  for (const auto& meta : of_phase(events, "M")) names.push_back(meta["args"]["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"rank \"0\"", "compute", "wire", "rank \"1\"", "compute", "wire"}));
}

TEST_F(Trace, ATornLastLineIsLeftOut) {
  const std::string file = write_rank(0, 0);
  fs::resize_file(file, fs::file_size(file) - 8);
  EXPECT_EQ(of_phase(merged({file}), "X").size(), 2u);
}

TEST_F(Trace, OtherFilesAreRefused) {
  std::ofstream(path("notes.txt")) << "[\n{\"ph\": \"M\"},\nnot an event\n{\"ph\": \"M\"},\n";
  try {
    merged({path("notes.txt")});
    FAIL() << "merged";
  } catch (const DamagedFile& error) {
    EXPECT_NE(std::string(error.what()).find("notes.txt:3: expected a trace event"), std::string::npos) << error.what();
  }
  EXPECT_THROW(merged({path("missing.json")}), std::system_error);
  EXPECT_THROW(TraceFile(path("no/such/folder.json"), 0, "rank 0", {}, 0), std::system_error);
}

}  // namespace
}  // namespace reprise
