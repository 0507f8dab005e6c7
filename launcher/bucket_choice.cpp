#include "launcher/bucket_choice.h"

namespace reprise {
namespace {

constexpr int64_t kWidest = 64 << 20, kNarrowest = 256 << 10, kFirst = 1 << 20;

}  // namespace

std::vector<BucketCaps> bucket_caps(const Config& config, bool has_wire) {
  const DistributedSetting& setting = config.distributed;
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(config.precision.reduce));
  std::vector<int64_t> widths = {setting.bucket_bytes};
  if (setting.bucket_bytes == kAuto) {
    widths.clear();
    for (int64_t bytes = kWidest; bytes >= kNarrowest; bytes /= 2) widths.push_back(bytes);
  }
  std::vector<BucketCaps> caps;
  for (const int64_t bytes : widths) {
    std::vector<int64_t> firsts = {setting.first_bucket_bytes};
    if (setting.first_bucket_bytes == kAuto) {
      firsts = {bytes};
      for (const int64_t first : {kFirst, kNarrowest}) {
        if (first < bytes) firsts.push_back(first);
      }
    }
    for (const int64_t first : firsts) caps.push_back({first, bytes, element_bytes});
  }
  if (!has_wire) caps.resize(1);
  return caps;
}

void cut_buckets(CostTable& costs, const FlatLayout& layout, const BucketCaps& caps) {
  costs.buckets.clear();
  for (const Bucket& bucket : make_buckets(layout, caps.first_bytes, caps.bytes, caps.element_bytes)) {
    costs.buckets.push_back(
        {bucket.lowest_stage, bucket.highest_stage, (bucket.end - bucket.begin) * caps.element_bytes});
  }
}

}  // namespace reprise
