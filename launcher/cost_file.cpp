#include "launcher/cost_file.h"

#include <fmt/format.h>

#include <cmath>

#include "launcher/config.h"
#include "monitoring/json_text.h"
#include "training/errors.h"
#include "training/input_file.h"

namespace reprise {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormat = "reprise.costs/1";
constexpr int64_t kMostBytes = int64_t{1} << 46;  // with the limits below: no sum of bytes leaves 63 bits
constexpr int64_t kMostCount = int64_t{1} << 40;
constexpr size_t kMostBuckets = 1 << 16;
constexpr int kDeepest = 8;  // lists and objects in each other; ours are 5

// One value of the file and the path that names it in an error.
class Value {
 public:
  Value(const Json& json, const std::string& source, const std::string& path)
      : json_(json), source_(source), path_(path) {}

  [[noreturn]] void refuse(const std::string& expected, std::string got = "") const {
    if (got.empty()) got = json_text(json_);
    if (got.size() > 40) got = got.substr(0, 40) + "...";
    throw DataError(
        fmt::format("{}: {}expected {}, got {}", source_, path_.empty() ? "" : path_ + ": ", expected, got));
  }

  bool has(const std::string& key) const {
    if (!json_.is_object()) refuse("an object");
    return json_.contains(key);
  }

  bool is_null() const { return json_.is_null(); }

  Value operator[](const std::string& key) const {
    if (!has(key)) refuse("a key \"" + key + "\"", "none");
    return {json_[key], source_, path_.empty() ? key : path_ + "." + key};
  }

  std::vector<Value> elements(size_t least, size_t most) const {
    if (!json_.is_array()) refuse("a list");
    if (json_.size() < least || json_.size() > most) {
      const std::string to_most = most > least ? fmt::format(" to {}", most) : "";
      refuse(fmt::format("{}{} elements", least, to_most), std::to_string(json_.size()));
    }
    std::vector<Value> values;
    for (size_t i = 0; i < json_.size(); ++i) values.emplace_back(json_[i], source_, fmt::format("{}[{}]", path_, i));
    return values;
  }

  std::string text() const {
    if (!json_.is_string()) refuse("a text");
    return json_.get<std::string>();
  }

  bool truth() const {
    if (!json_.is_boolean()) refuse("true or false");
    return json_.get<bool>();
  }

  double number(double least, double most, const std::string& expected) const {
    const double value = json_.is_number() ? json_.get<double>() : std::nan("");
    if (!(value >= least && value <= most)) refuse(expected);
    return value;
  }

  int64_t whole(int64_t least, int64_t most) const {
    const std::string expected = fmt::format("a whole number from {} to {}", least, most);
    const double value = number(static_cast<double>(least), static_cast<double>(most), expected);
    if (value != std::floor(value)) refuse(expected);
    return json_.get<int64_t>();
  }

  int64_t bytes() const { return whole(0, kMostBytes); }
  double seconds() const { return number(0, 1e9, "seconds, a number from 0 to 1e9"); }
  double share() const { return number(0, 1, "a share, a number from 0 to 1"); }
  double rate() const { return number(1, 1e18, "bytes per second, a number from 1 to 1e18"); }

 private:
  const Json& json_;
  const std::string& source_;
  std::string path_;
};

SaveCost save_of(const Value& value) {
  return {.kept_bytes = value["kept_bytes"].bytes(),
          .extra_seconds = value["extra_seconds"].seconds(),
          .forward_workspace_bytes = value["forward_workspace_bytes"].bytes(),
          .backward_workspace_bytes = value["backward_workspace_bytes"].bytes()};
}

StageCost stage_of(const Value& value) {
  StageCost stage;
  stage.name = value["name"].text();
  stage.layer = value["layer"].is_null() ? -1 : static_cast<int>(value["layer"].whole(0, kMostStages));
  stage.recomputable = value["recomputable"].truth();
  stage.forward_seconds = value["forward_seconds"].seconds();
  stage.backward_seconds = value["backward_seconds"].seconds();
  const auto part = [&](const char* key, const char* whole, double most) {
    return value.has(key) ? value[key].number(0, most, fmt::format("seconds, at most {}, {}", whole, most)) : 0;
  };
  stage.early_stop_seconds = part("early_stop_seconds", "forward_seconds", stage.forward_seconds);
  stage.late_seconds = part("late_seconds", "backward_seconds", stage.backward_seconds);
  stage.boundary_bytes = value["boundary_bytes"].bytes();
  for (const SaveLevel level : kSaveLevels) {
    const Value save = value["saves"][name_of(level)];
    SaveCost& cost = stage.saves[static_cast<size_t>(level)] = save_of(save);
    if (stage.recomputable && cost.kept_bytes < stage.boundary_bytes) {
      save["kept_bytes"].refuse(
          fmt::format("at least boundary_bytes, {}, since a stage keeps its own input", stage.boundary_bytes));
    }
  }
  return stage;
}

std::vector<BucketCost> buckets_of(const Value& list, int stages) {
  std::vector<BucketCost> buckets;
  for (const Value& value : list.elements(0, kMostBuckets)) {
    const std::vector<Value> span = value["stages"].elements(2, 2);
    BucketCost bucket;
    bucket.lowest = static_cast<int>(span[0].whole(0, stages - 1));
    bucket.highest = static_cast<int>(span[1].whole(bucket.lowest, stages - 1));
    bucket.bytes = value["bytes"].bytes();
    bucket.is_early = value.has("is_early") && value["is_early"].truth();
    if (!buckets.empty() && bucket.point() > buckets.back().point()) {
      span[0].refuse(
          fmt::format("at most {}, since lowest stages never increase in launch order, early ones before others",
                      buckets.back().lowest));
    }
    buckets.push_back(bucket);
  }
  return buckets;
}

CostTable table_of(const Value& root) {
  if (root["format"].text() != kFormat) root["format"].refuse(std::string("\"") + kFormat + "\"");
  CostTable costs;
  costs.device = root["device"].text();
  costs.micro_sequences = root["micro_sequences"].whole(1, kMostCount);
  costs.tokens = root["tokens"].whole(1, kMostCount);
  if (root.has("micro_batches")) costs.micro_batches = root["micro_batches"].whole(1, 1 << 20);
  costs.base_bytes = root["base_bytes"].bytes();
  costs.optimizer_seconds = root["optimizer_seconds"].seconds();
  if (const Value wire = root["wire"]; !wire.is_null()) {
    costs.wire = WireModel{wire["latency_seconds"].seconds(), wire["bytes_per_second"].rate()};
    if (wire.has("compute_share")) costs.wire->compute_share = wire["compute_share"].share();
  }
  int before = -1;  // the last layer so far
  for (const Value& value : root["stages"].elements(1, kMostStages)) {
    const StageCost& stage = costs.stages.emplace_back(stage_of(value));
    if (stage.layer >= 0 && stage.layer < before) value["layer"].refuse("at least " + std::to_string(before));
    before = std::max(before, stage.layer);
  }
  costs.buckets = buckets_of(root["buckets"], costs.size());
  return costs;
}

}  // namespace

CostTable parse_costs(const std::string& json, const std::string& source) {
  return table_of(Value(parse_json(source, json, kDeepest), source, ""));
}

CostTable read_costs(const std::string& path) { return table_of(Value(read_json(path, kDeepest), path, "")); }

std::string format_costs(const CostTable& costs) {
  using Json = nlohmann::ordered_json;
  Json root{{"format", kFormat}};
  root.update(JSON_FIELDS(costs.device, costs.micro_sequences, costs.tokens, costs.micro_batches, costs.base_bytes,
                          costs.optimizer_seconds));
  root["wire"] = costs.wire
                     ? JSON_FIELDS(costs.wire->latency_seconds, costs.wire->bytes_per_second, costs.wire->compute_share)
                     : Json();
  root["buckets"] = Json::array();
  root["stages"] = Json::array();
  for (const BucketCost& bucket : costs.buckets) {
    root["buckets"].push_back(
        {{"stages", {bucket.lowest, bucket.highest}}, {"bytes", bucket.bytes}, {"is_early", bucket.is_early}});
  }
  for (const StageCost& stage : costs.stages) {
    const Json layer = stage.layer < 0 ? Json() : Json(stage.layer);
    Json saves;
    for (const SaveLevel level : kSaveLevels) {
      const SaveCost& save = stage.at(level);
      saves[name_of(level)] =
          JSON_FIELDS(save.kept_bytes, save.extra_seconds, save.forward_workspace_bytes, save.backward_workspace_bytes);
    }
    root["stages"].push_back(JSON_FIELDS(stage.name, layer, stage.recomputable, stage.forward_seconds,
                                         stage.early_stop_seconds, stage.backward_seconds, stage.late_seconds,
                                         stage.boundary_bytes, saves));
  }
  return root.dump(1) + "\n";
}

}  // namespace reprise
