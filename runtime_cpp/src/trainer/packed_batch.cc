#include "trainer/packed_batch.h"

#include <algorithm>
#include <string>

namespace pocketlora {
namespace {

void check_segments(const BatchView& batch, ProblemList* problems) {
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  const auto count = static_cast<int64_t>(batch.segments.size()) - 1;
  if (count < 1) return problems->add("segments: expected at least one");
  if (batch.segments[0] != 0 || batch.segments[static_cast<size_t>(count)] != rows) {
    problems->addf("segments: expected offsets from 0 to %lld, found %lld to %lld", static_cast<long long>(rows),
                   static_cast<long long>(batch.segments[0]),
                   static_cast<long long>(batch.segments[static_cast<size_t>(count)]));
  }
  for (size_t s = 1; s < batch.segments.size(); ++s) {
    if (batch.segments[s] > batch.segments[s - 1]) continue;
    return problems->addf("segments: offset %zu is %lld after %lld, a segment has at least one token", s,
                          static_cast<long long>(batch.segments[s]), static_cast<long long>(batch.segments[s - 1]));
  }
}

void check_tokens(Span<const int64_t> tokens, int64_t vocabulary, ProblemList* problems) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocabulary) continue;
    return problems->addf("tokens[%zu]: expected an id from 0 to %lld, found %lld", i,
                          static_cast<long long>(vocabulary - 1), static_cast<long long>(tokens[i]));
  }
}

/// Labels are aligned as Hugging Face aligns them; a shifted row would train on the wrong targets without a word.
void check_labels(const BatchView& batch, ProblemList* problems) {
  if (batch.labels.size() != batch.tokens.size()) {
    return problems->addf("labels: expected one for each of %zu tokens, found %zu", batch.tokens.size(),
                          batch.labels.size());
  }
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == kIgnoredLabel || batch.labels[i] == batch.tokens[i]) continue;
    return problems->addf("labels[%zu]: expected -100 or the token itself, %lld, found %lld", i,
                          static_cast<long long>(batch.tokens[i]), static_cast<long long>(batch.labels[i]));
  }
}

/// Calls visit(row, next) for each row that has a successor in its segment.
template <typename Visit>
void each_prediction(const BatchView& batch, const Visit& visit) {
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    for (int64_t row = batch.segments[s]; row + 1 < batch.segments[s + 1]; ++row) {
      visit(static_cast<size_t>(row), static_cast<size_t>(row) + 1);
    }
  }
}

PackedRows unlabelled_rows(const BatchView& batch) {
  PackedRows rows;
  rows.positions.resize(batch.tokens.size());
  rows.targets.assign(batch.tokens.size(), kIgnoredLabel);
  rows.weights.assign(batch.tokens.size(), 0.0F);
  for (size_t s = 0; s + 1 < batch.segments.size(); ++s) {
    for (int64_t row = batch.segments[s]; row < batch.segments[s + 1]; ++row) {
      rows.positions[static_cast<size_t>(row)] = row - batch.segments[s];
    }
  }
  return rows;
}

}  // namespace

Status check_batch(const BatchView& batch, const Manifest& manifest, const std::string& where) {
  const Limits& limits = manifest.limits;
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  ProblemList problems;
  if (rows < limits.train_t_min) {
    problems.addf("expected at least %lld tokens, found %lld", static_cast<long long>(limits.train_t_min),
                  static_cast<long long>(rows));
  }
  check_segments(batch, &problems);
  check_tokens(batch.tokens, manifest.model.vocab_size, &problems);
  check_labels(batch, &problems);
  return problems.to_status(PL_INVALID_ARGUMENT, where + ":");
}

Status check_pairs(const BatchView& batch, const std::string& where) {
  ProblemList problems;
  const size_t count = batch.segments.size() - 1;
  if (count % 2 != 0) {
    problems.addf("expected pairs, a chosen and a rejected answer each, found %zu segments", count);
  }
  for (size_t s = 0; s < count; ++s) {
    const auto begin = static_cast<size_t>(batch.segments[s]) + 1, end = static_cast<size_t>(batch.segments[s + 1]);
    const auto labelled = [](int64_t label) { return label != kIgnoredLabel; };
    if (std::any_of(batch.labels.begin() + begin, batch.labels.begin() + end, labelled)) continue;
    problems.addf("segment %zu: no token behind the first has a label", s);
  }
  return problems.to_status(PL_INVALID_ARGUMENT, where + ":");
}

int64_t count_labels(const BatchView& batch) {
  int64_t count = 0;
  each_prediction(batch, [&](size_t, size_t next) { count += batch.labels[next] != kIgnoredLabel ? 1 : 0; });
  return count;
}

PackedRows pack_for_loss(const BatchView& batch, float weight) {
  PackedRows rows = unlabelled_rows(batch);
  each_prediction(batch, [&](size_t row, size_t next) {
    rows.targets[row] = batch.labels[next];
    if (batch.labels[next] != kIgnoredLabel) rows.weights[row] = weight;
  });
  return rows;
}

PackedRows pack_for_logprobs(const BatchView& batch) {
  PackedRows rows = unlabelled_rows(batch);
  each_prediction(batch, [&](size_t row, size_t next) {
    rows.targets[row] = batch.labels[next] != kIgnoredLabel ? batch.labels[next] : batch.tokens[next];
  });
  return rows;
}

}  // namespace pocketlora
