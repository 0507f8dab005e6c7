#include "training/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "training/errors.h"

namespace reprise {
namespace {

[[noreturn]] void refuse(const std::string& expression, const std::string& reason) {
  throw DataError("the pattern " + expression + " " + reason);
}

std::string text_of(int error) {
  unsigned char text[256];
  pcre2_get_error_message(error, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

// \s as White_Space, out of which Unicode took U+180E and PCRE2 did not. What PCRE2 does not tell of is refused here.
std::string with_white_space(const std::string& expression) {
  const std::string space = R"(\p{Z}\t-\r\x{85})";
  std::string text;
  bool in_class = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const std::string next = expression.substr(i, expression[i] == '\\' ? 2 : 1);
    const bool is_anchor = next == "\\A" || next == "\\G" || (next == "^" && !in_class);
    if (is_anchor || (next == "\\S" && in_class)) refuse(expression, "uses " + next);
    if (next == "[" && expression[i + 1] == '^')
      text += "[^", ++i;
    else if (next == "\\s")
      text += in_class ? space : "[" + space + "]";
    else
      text += next == "\\S" ? "[^" + space + "]" : next;
    if (next == "[" || next == "]") in_class = next == "[";
    i += next.size() - 1;
  }
  return text;
}

}  // namespace

Pattern::Pattern(const std::string& expression) : expression_(expression) {
  const std::string text = with_white_space(expression);
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF;
  int error = 0;
  size_t offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), kOptions, &error, &offset, nullptr);
  if (code == nullptr) refuse(expression, "is malformed: " + text_of(error));
  code_ = {code, pcre2_code_free};
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, PCRE2 interprets: slower, the same matches
  match_ = {pcre2_match_data_create(1, nullptr), pcre2_match_data_free};
  uint32_t matches_empty = 0, looks_behind = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &looks_behind);
  if (matches_empty != 0 || looks_behind != 0) refuse(expression, "can match nothing, or looks behind");
}

std::optional<std::pair<size_t, size_t>> Pattern::find(std::string_view text) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int found = pcre2_match(code_.get(), subject, text.size(), 0, 0, match_.get(), nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) refuse(expression_, "cannot be matched: " + text_of(found));
  const size_t* range = pcre2_get_ovector_pointer(match_.get());
  return std::pair(range[0], range[1]);
}

}  // namespace reprise
