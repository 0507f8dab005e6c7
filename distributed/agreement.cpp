#include "distributed/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>

namespace reprise {
namespace {

using Json = nlohmann::json;

// Every rank's (words) int64, as (ranks, words). A sum in which each rank fills only its own row is exact.
torch::Tensor gather_words(Communicator& communicator, const torch::Tensor& words) {
  const torch::Tensor rows = torch::zeros({communicator.size(), words.numel()}, torch::kInt64);
  rows[communicator.rank()].copy_(words);
  communicator.start_sum(rows)->wait();
  return rows;
}

// The odd rank is the first that is not with the majority; with a tie for the majority, the first that differs from
// rank 0.
std::string difference(const Communicator& communicator, const std::string& key,
                       const std::vector<std::string>& values) {
  const auto first_other_than = [&](const std::string& value) {
    return std::find_if(values.begin(), values.end(), [&](const std::string& other) { return other != value; });
  };
  const auto votes = [&](const std::string& value) { return std::count(values.begin(), values.end(), value); };
  const std::string usual = *std::ranges::max_element(values, {}, votes);
  const auto odd = first_other_than(usual), other = first_other_than(*odd);
  return fmt::format("{} differs: {} is {}, rank {} has {}", communicator.describe(odd - values.begin()), key, *odd,
                     other - values.begin(), *other);
}

}  // namespace

std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text) {
  const torch::Tensor lengths = gather_words(communicator, torch::tensor({std::ssize(text)}));
  const torch::Tensor padded = torch::zeros({lengths.max().item<int64_t>() / 8 + 1}, torch::kInt64);
  std::copy(text.begin(), text.end(), static_cast<char*>(padded.mutable_data_ptr()));
  const torch::Tensor rows = gather_words(communicator, padded);
  std::vector<std::string> texts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const auto* begin = reinterpret_cast<const char*>(rows.const_data_ptr<int64_t>() + rank * rows.size(1));
    texts.emplace_back(begin, lengths[rank][0].item<int64_t>());
  }
  return texts;
}

torch::Tensor gather_figures(Communicator& communicator, const std::vector<double>& figures) {
  const torch::Tensor own = torch::tensor(figures, torch::kFloat64);
  return gather_words(communicator, own.view(torch::kInt64)).view(torch::kFloat64);  // the bits, which add exactly
}

std::vector<double> largest_figures(Communicator& communicator, const std::vector<double>& figures) {
  const torch::Tensor largest = gather_figures(communicator, figures).amax(0);  // (figures)
  return {largest.const_data_ptr<double>(), largest.const_data_ptr<double>() + largest.numel()};
}

void require_agreement(Communicator& communicator, const std::map<std::string, std::string>& fields) {
  const std::vector<uint8_t> own = Json::to_cbor(fields);  // takes any bytes, where JSON takes UTF-8 only
  const std::vector<std::string> texts = gather_texts(communicator, std::string(own.begin(), own.end()));
  if (std::count(texts.begin(), texts.end(), texts[0]) == communicator.size()) return;

  std::map<std::string, std::vector<std::string>> values;  // by key, then by rank
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const std::map<std::string, std::string> theirs = Json::from_cbor(texts[rank]);
    for (const auto& [key, value] : theirs) {
      values.try_emplace(key, texts.size(), "absent").first->second[rank] = '"' + value + '"';
    }
  }
  std::string message;
  for (const auto& [key, of_ranks] : values) {
    if (std::adjacent_find(of_ranks.begin(), of_ranks.end(), std::not_equal_to<>()) == of_ranks.end()) continue;
    message += difference(communicator, key, of_ranks) + "; ";
  }
  throw Disagreement(message + "start every rank with the same configuration and data");
}

}  // namespace reprise
