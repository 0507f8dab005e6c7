#include "launcher/spelling.h"

#include <algorithm>
#include <numeric>

namespace reprise {

int edit_distance(std::string_view a, std::string_view b) {
  // Distances of a prefix of a to every prefix of b: of this prefix, and of those one and two shorter.
  std::vector<int> row(b.size() + 1), shorter, shortest;
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    shortest = std::move(shorter);
    shorter = row;
    row[0] = static_cast<int>(i) + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const int replaced = shorter[j] + (a[i] == b[j] ? 0 : 1);
      row[j + 1] = std::min({replaced, shorter[j + 1] + 1, row[j] + 1});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j])
        row[j + 1] = std::min(row[j + 1], shortest[j - 1] + 1);
    }
  }
  return row.back();
}

std::string nearest_spelling(std::string_view text, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // longer texts are no misspelled names
  if (text.empty() || text.size() > kLongest) return {};
  const auto distance = [&](const std::string& candidate) { return edit_distance(text, candidate); };
  const auto nearest = std::ranges::min_element(candidates, {}, distance);
  const int most = std::max(1, static_cast<int>(text.size()) / 3);
  return nearest != candidates.end() && distance(*nearest) <= most ? *nearest : "";
}

std::string nearest_key(std::string_view key, const std::vector<std::string>& keys) {
  const auto name_in = [](std::string_view dotted) { return dotted.substr(dotted.rfind('.') + 1); };
  // Compare names within the same section first: a long section name must not hide a short wrong name.
  const std::string_view section = key.substr(0, key.size() - name_in(key).size());
  std::vector<std::string> siblings;
  for (const std::string& candidate : keys) {
    if (candidate.starts_with(section)) siblings.push_back(candidate.substr(section.size()));
  }
  const std::string sibling = nearest_spelling(name_in(key), siblings);
  if (!sibling.empty()) return std::string(section) + sibling;
  const auto elsewhere = std::ranges::find(keys, name_in(key), name_in);
  if (elsewhere != keys.end()) return *elsewhere;
  // Else it may be the section that is misspelled.
  const std::string whole = nearest_spelling(key, keys);
  return whole.empty() ? nearest_spelling(key.substr(0, key.find('.')), keys) : whole;
}

InvalidSetting wrong_value(const std::string& key, const std::string& expected, const std::string& got,
                           const std::string& suggestion) {
  const std::string question = suggestion.empty() ? "" : "; did you mean " + suggestion + "?";
  return {key, "expected " + expected + ", got " + got + question};
}

}  // namespace reprise
