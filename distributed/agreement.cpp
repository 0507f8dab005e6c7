#include "distributed/agreement.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <set>

namespace reprise {
namespace {

// Every rank's words, (ranks, words) int64. A sum in which each rank fills only its own row is exact.
torch::Tensor gather_words(Communicator& communicator, const std::vector<int64_t>& words) {
  const auto columns = static_cast<int64_t>(words.size());
  torch::Tensor rows = torch::zeros({communicator.size(), columns}, torch::kInt64);
  std::copy(words.begin(), words.end(), rows.mutable_data_ptr<int64_t>() + communicator.rank() * columns);
  communicator.start_sum(rows)->wait();
  return rows;
}

// FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv
uint64_t hash(const std::string& text) {
  uint64_t value = 0xcbf29ce484222325;
  for (const unsigned char byte : text) value = (value ^ byte) * 0x100000001b3;
  return value;
}

// One field after the other as "key NUL value NUL".
std::string serialize(const std::map<std::string, std::string>& fields) {
  std::string text;
  for (const auto& [key, value] : fields) text += key + '\0' + value + '\0';
  return text;
}

std::map<std::string, std::string> parse(const std::string& text) {
  std::map<std::string, std::string> fields;
  for (size_t at = 0; at < text.size();) {
    const size_t middle = text.find('\0', at);
    const size_t end = text.find('\0', middle + 1);
    fields[text.substr(at, middle - at)] = text.substr(middle + 1, end - middle - 1);
    at = end + 1;
  }
  return fields;
}

// The first rank that is not with the majority; with a tie for the majority, the first that differs from rank 0.
int odd_rank(const std::vector<std::string>& values) {
  const auto votes = [&](const std::string& value) { return std::count(values.begin(), values.end(), value); };
  std::string usual = values[0];
  for (const std::string& value : values) {
    if (votes(value) > votes(usual)) usual = value;
  }
  const auto odd = std::find_if(values.begin(), values.end(), [&](const std::string& v) { return v != usual; });
  return static_cast<int>(odd - values.begin());
}

std::string difference(const Communicator& communicator, const std::string& key,
                       const std::vector<std::string>& values) {
  const int odd = odd_rank(values);
  const auto other = std::find_if(values.begin(), values.end(), [&](const auto& v) { return v != values[odd]; });
  return communicator.describe(odd) + " differs: " + key + " is " + values[odd] + ", rank " +
         std::to_string(other - values.begin()) + " has " + *other;
}

}  // namespace

std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text) {
  const torch::Tensor lengths = gather_words(communicator, {static_cast<int64_t>(text.size())});
  const int64_t longest = lengths.max().item<int64_t>();
  std::vector<int64_t> padded((longest + sizeof(int64_t) - 1) / sizeof(int64_t));
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(padded.data()));
  const torch::Tensor rows = gather_words(communicator, padded);
  std::vector<std::string> texts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const auto* begin = reinterpret_cast<const char*>(rows.const_data_ptr<int64_t>() + rank * rows.size(1));
    texts.emplace_back(begin, lengths[rank][0].item<int64_t>());
  }
  return texts;
}

std::vector<std::vector<double>> gather_figures(Communicator& communicator, const std::vector<double>& figures) {
  std::vector<int64_t> bits(figures.size());
  std::transform(figures.begin(), figures.end(), bits.begin(), [](double f) { return std::bit_cast<int64_t>(f); });
  const torch::Tensor rows = gather_words(communicator, bits).view(torch::kFloat64);
  std::vector<std::vector<double>> gathered;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const double* begin = rows.const_data_ptr<double>() + rank * rows.size(1);
    gathered.emplace_back(begin, begin + rows.size(1));
  }
  return gathered;
}

std::vector<double> largest_figures(Communicator& communicator, std::vector<double> figures) {
  for (const std::vector<double>& others : gather_figures(communicator, figures)) {
    for (size_t i = 0; i < figures.size(); ++i) figures[i] = std::max(figures[i], others[i]);
  }
  return figures;
}

void require_agreement(Communicator& communicator, const std::map<std::string, std::string>& fields) {
  const std::string text = serialize(fields);
  const torch::Tensor hashes = gather_words(communicator, {static_cast<int64_t>(hash(text))});  // (ranks, 1)
  if ((hashes == hashes[0]).all().item<bool>()) return;

  std::vector<std::map<std::string, std::string>> by_rank;
  std::set<std::string> keys;
  for (const std::string& theirs : gather_texts(communicator, text)) {
    by_rank.push_back(parse(theirs));
    for (const auto& [key, value] : by_rank.back()) keys.insert(key);
  }
  std::string message;
  for (const std::string& key : keys) {
    std::vector<std::string> values;
    for (const auto& theirs : by_rank) {
      const auto found = theirs.find(key);
      values.push_back(found == theirs.end() ? "absent" : '"' + found->second + '"');
    }
    if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end()) continue;
    message += difference(communicator, key, values) + "; ";
  }
  throw Disagreement(message + "start every rank with the same configuration and data");
}

}  // namespace reprise
