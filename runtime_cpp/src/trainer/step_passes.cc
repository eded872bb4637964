#include "trainer/step_passes.h"

#include <algorithm>

namespace pocketlora {
namespace {

StepPass cut(const BatchView& batch, size_t first, size_t last) {
  const auto begin = static_cast<size_t>(batch.segments[first]);
  const size_t count = static_cast<size_t>(batch.segments[last]) - begin;
  StepPass pass;
  pass.tokens = batch.tokens.subspan(begin, count);
  pass.labels = batch.labels.subspan(begin, count);
  for (size_t s = first; s <= last; ++s) pass.segments.push_back(batch.segments[s] - batch.segments[first]);
  return pass;
}

}  // namespace

Status too_long_for_bundle(const std::string& segment, int64_t rows, int64_t train_t_max) {
  return error(PL_SEQUENCE_TOO_LONG, "%s has %lld tokens: the bundle was exported for at most %lld", segment.c_str(),
               static_cast<long long>(rows), static_cast<long long>(train_t_max));
}

Result<std::vector<StepPass>> split_passes(const BatchView& batch, const PassLimits& limits, const std::string& where,
                                           const TooLong& too_long) {
  std::vector<StepPass> passes;
  const size_t count = batch.segments.size() - 1;
  const auto rows_of = [&](size_t begin, size_t end) { return batch.segments[end] - batch.segments[begin]; };
  const auto fits = [&](size_t begin, size_t end) {
    return rows_of(begin, end) <= limits.max_rows && static_cast<int64_t>(end - begin) <= limits.max_segments;
  };
  for (size_t s = 0; s < count; ++s) {
    if (rows_of(s, s + 1) <= limits.max_rows) continue;
    return too_long(count == 1 ? where : where + ", segment " + std::to_string(s), rows_of(s, s + 1));
  }
  size_t first = 0;  // of the pass that is filled
  for (size_t s = 0; s < count; s += limits.segments_together) {
    const size_t end = std::min(s + limits.segments_together, count);
    if (fits(first, end)) continue;
    if (first < s) passes.push_back(cut(batch, first, s));
    first = s;
    if (fits(s, end)) continue;
    for (; first < end; ++first) passes.push_back(cut(batch, first, first + 1));
  }
  if (first < count) passes.push_back(cut(batch, first, count));
  for (const StepPass& pass : passes) {
    const auto rows = static_cast<int64_t>(pass.tokens.size());
    if (rows >= limits.min_rows) continue;
    return error(PL_INVALID_ARGUMENT, "%s: a pass of %lld rows remains, the bundle was exported for at least %lld",
                 where.c_str(), static_cast<long long>(rows), static_cast<long long>(limits.min_rows));
  }
  return passes;
}

}  // namespace pocketlora
