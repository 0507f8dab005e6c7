#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace reprise {

// A regular expression over UTF-8 with Unicode's classes, as the tokenizers of Hugging Face read it (Oniguruma). Bytes
// that are not UTF-8 match nothing. One thread at a time.
class Pattern {
 public:
  // Throws DataError when it is malformed, or can match nothing, or looks at what stands before a match: text is
  // searched from the end of one match on, as if it began there.
  explicit Pattern(const std::string& expression);

  // Begin and end of the first match in the text. Throws DataError when the search takes too much time or space.
  std::optional<std::pair<size_t, size_t>> find(std::string_view text);

 private:
  std::string expression_;
  std::shared_ptr<pcre2_real_code_8> code_;
  std::shared_ptr<pcre2_real_match_data_8> match_;
};

}  // namespace reprise
