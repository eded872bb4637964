#include "pre_tokenizer.h"

#include "normalizer.h"

namespace pocketlora::tokenizer {

const std::vector<PreTokenizer::Range>& PreTokenizer::split(std::string_view text, bool at_start) {
  text_ = text;
  has_kinds_ = false;
  pieces_.assign(text.empty() ? 0 : 1, Range{0, text.size()});
  for (const Step& step : data_.pre_tokenizer) {
    switch (static_cast<StepKind>(step.kind)) {
      case StepKind::kReplace:
        replace(step);
        break;
      case StepKind::kPrependPiece:
        prepend(step, at_start);
        break;
      case StepKind::kSplit:
        split(step);
        break;
      default:
        break;
    }
  }
  return pieces_;
}

// Makes what was written to next_ and next_pieces_ the text.
void PreTokenizer::take_text() {
  owned_.swap(next_);
  pieces_.swap(next_pieces_);
  text_ = owned_;
  has_kinds_ = false;
}

void PreTokenizer::replace(const Step& step) {
  next_.clear();
  next_pieces_.clear();
  for (const Range piece : pieces_) {
    const size_t begin = next_.size();
    next_ += replace_all(text_.substr(piece.begin, piece.end - piece.begin), data_.text0(step), data_.text1(step));
    if (next_.size() > begin) next_pieces_.push_back({begin, next_.size()});
  }
  take_text();
}

void PreTokenizer::prepend(const Step& step, bool at_start) {
  const std::string_view prefix = data_.text0(step);
  next_.clear();
  next_pieces_.clear();
  for (const Range piece : pieces_) {
    const size_t begin = next_.size();
    const std::string_view content = text_.substr(piece.begin, piece.end - piece.begin);
    const bool wanted = step.a == 0 || (at_start && piece.begin == 0);
    if (wanted && content.substr(0, prefix.size()) != prefix) next_ += prefix;
    next_ += content;
    next_pieces_.push_back({begin, next_.size()});
  }
  take_text();
}

void PreTokenizer::find_matches(const Step& step, Range piece) {
  spans_.clear();
  const bool inverted = step.c != 0;
  size_t done = piece.begin;
  for (size_t at = piece.begin; at < piece.end;) {
    const size_t end = matcher_.match(step.a, kinds_.data(), at, piece.end);
    // A match has at least one character: the converter refuses patterns that match nothing.
    if (end == Matcher::kNoMatch || end == at) {
      do ++at;
      while (at < piece.end && kinds_[at] == kContinuation);
      continue;
    }
    if (done < at) spans_.push_back({done, at, inverted});
    spans_.push_back({at, end, !inverted});
    at = done = end;
  }
  if (done < piece.end) spans_.push_back({done, piece.end, inverted});
}

// Joins spans as the behavior says; `is_match` of a result means nothing.
void PreTokenizer::add_spans(Behavior behavior) {
  size_t count = 0;
  bool was_match = false;
  if (behavior == Behavior::kMergedWithNext) {
    // From the back, as the first of several matches stays alone.
    count = spans_.size();
    for (size_t i = spans_.size(); i-- > 0;) {
      const Span span = spans_[i];
      if (span.is_match && !was_match && count < spans_.size()) {
        spans_[count].begin = span.begin;
      } else {
        spans_[--count] = span;
      }
      was_match = span.is_match;
    }
    for (size_t i = count; i < spans_.size(); ++i) next_pieces_.push_back({spans_[i].begin, spans_[i].end});
    return;
  }
  for (const Span span : spans_) {
    const bool joins = behavior == Behavior::kContiguous ? span.is_match == was_match : span.is_match && !was_match;
    if (joins && count > 0) {
      spans_[count - 1].end = span.end;
    } else {
      spans_[count++] = span;
    }
    was_match = span.is_match;
  }
  for (size_t i = 0; i < count; ++i) next_pieces_.push_back({spans_[i].begin, spans_[i].end});
}

void PreTokenizer::add_words(Behavior behavior) {
  if (behavior != Behavior::kRemoved && behavior != Behavior::kIsolated) {
    add_spans(behavior);
    return;
  }
  for (const Span span : spans_) {
    if (behavior == Behavior::kIsolated || !span.is_match) next_pieces_.push_back({span.begin, span.end});
  }
}

void PreTokenizer::split(const Step& step) {
  if (!has_kinds_) {
    kinds_.clear();
    append_kinds(data_, text_, &kinds_);
    has_kinds_ = true;
  }
  next_pieces_.clear();
  for (const Range piece : pieces_) {
    find_matches(step, piece);
    add_words(static_cast<Behavior>(step.b));
  }
  pieces_.swap(next_pieces_);
}

}  // namespace pocketlora::tokenizer
