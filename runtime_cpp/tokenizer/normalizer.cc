#include "normalizer.h"

#include <utility>

#include "unicode_form.h"

namespace pocketlora::tokenizer {
namespace {

std::string apply(const TokenizerData& data, const Step& step, std::string text) {
  switch (static_cast<StepKind>(step.kind)) {
    case StepKind::kPrepend:
      return text.empty() ? text : std::string(data.text0(step)) + text;
    case StepKind::kReplace:
      return replace_all(text, data.text0(step), data.text1(step));
    case StepKind::kNfc:
      return to_unicode_form(data, {false, true}, text);
    case StepKind::kNfd:
      return to_unicode_form(data, {false, false}, text);
    case StepKind::kNfkc:
      return to_unicode_form(data, {true, true}, text);
    case StepKind::kNfkd:
      return to_unicode_form(data, {true, false}, text);
    default:
      return text;
  }
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string result;
  result.reserve(text.size());
  for (;;) {
    const size_t at = text.find(pattern);
    result.append(text.substr(0, at));
    if (at == std::string_view::npos) return result;
    result.append(content);
    text.remove_prefix(at + pattern.size());
  }
}

std::string normalize(const TokenizerData& data, std::string_view text) {
  std::string result(text);
  for (const Step& step : data.normalizer) result = apply(data, step, std::move(result));
  return result;
}

}  // namespace pocketlora::tokenizer
