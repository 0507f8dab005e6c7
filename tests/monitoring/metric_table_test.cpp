#include "monitoring/metric_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace reprise {
namespace {

std::string table_in_markdown() {
  constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  std::string page = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n";
  for (const Metric& metric : kMetrics) {
    page += fmt::format("| `{}` | {} | {} | {} | {} |\n", metric.name, kTypes[static_cast<int>(metric.type)],
                        metric.unit, metric.label, metric.help);
  }
  return page;
}

TEST(MetricTable, TheDocsHoldIt) {
  const char* source = std::getenv("REPRISE_SOURCE");
  ASSERT_NE(source, nullptr) << "expected the checkout's folder in REPRISE_SOURCE, which ctest sets";
  std::ifstream file(std::string(source) + "/docs/metrics.md");
  const std::string docs{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(docs.find("\n" + table_in_markdown() + "\n"), std::string::npos)
      << "expected this table in docs/metrics.md:\n\n"
      << table_in_markdown();
}

TEST(MetricTable, NamesFollowPrometheus) {
  std::set<std::string_view> names;
  for (const Metric& metric : kMetrics) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name << " is there twice";
    EXPECT_EQ(metric.name.ends_with("_total"), metric.type == counter) << metric.name;
    const std::string_view unit = metric.unit.substr(0, metric.unit.find(' '));
    const bool is_base_unit = unit == "seconds" || unit == "bytes" || unit == "ratio";
    if (is_base_unit) {
      EXPECT_NE(metric.name.find("_" + std::string(unit)), std::string_view::npos) << metric.name;
    }
  }
}

}  // namespace
}  // namespace reprise
