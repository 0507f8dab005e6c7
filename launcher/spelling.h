#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/model_config.h"

namespace reprise {

// The fewest insertions, deletions, replacements and exchanges of neighbouring characters that turn one text into the
// other, no place edited twice ("optimal string alignment").
int edit_distance(std::string_view a, std::string_view b);

// The candidate that `text` most likely means: at most a third of its characters are wrong. Empty when none is that
// close. The first of equally close ones.
std::string nearest_spelling(std::string_view text, const std::vector<std::string>& candidates);

// The same for dotted keys; a right name in the wrong section is found too.
std::string nearest_key(std::string_view key, const std::vector<std::string>& keys);

// "expected …, got …; did you mean …?" of one key; the last part only where there is a suggestion.
InvalidSetting wrong_value(const std::string& key, const std::string& expected, const std::string& got,
                           const std::string& suggestion = "");

}  // namespace reprise
