#pragma once

#include <cstdint>
#include <vector>

#include "checkpointing/cost_table.h"
#include "distributed/flat_layout.h"
#include "launcher/config.h"

namespace reprise {

struct BucketCaps {
  int64_t first_bytes = 0, bytes = 0;
  int64_t element_bytes = sizeof(float);  // of a gradient on the wire
};

// The caps that the configuration allows, widest first: powers of two where it says auto. The widest alone without a
// wire, which makes all of them equal.
std::vector<BucketCaps> bucket_caps(const Config& config, bool has_wire);

// Cuts the flat gradients into the table's buckets.
void cut_buckets(CostTable& costs, const FlatLayout& layout, const BucketCaps& caps);

}  // namespace reprise
