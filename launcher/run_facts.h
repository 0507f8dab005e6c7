#pragma once

#include <string>
#include <vector>

#include "distributed/flat_layout.h"
#include "model/stage_chain.h"
#include "training/token_data.h"

namespace reprise {

// What ranks compare at the start, as short texts.

// Counts and a few windows spread over the split: other data of the same size is told apart without reading all of it.
std::string describe_data(const TokenShards& shards, const ModelConfig& model);
std::string describe_parameters(const StageChain& model);
std::string describe_buckets(const std::vector<Bucket>& buckets);
std::string describe_model(const ModelConfig& model);  // for people

}  // namespace reprise
