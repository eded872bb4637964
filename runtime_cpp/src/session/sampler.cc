#include "session/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace pocketlora {

Result<Sampler> Sampler::create(const SamplingOptions& options) {
  ProblemList problems;
  if (!std::isfinite(options.temperature) || options.temperature < 0.0F) {
    problems.addf("temperature: expected 0 or more, found %g", static_cast<double>(options.temperature));
  }
  if (!(options.top_p > 0.0F && options.top_p <= 1.0F)) {
    problems.addf("top_p: expected more than 0 and at most 1, found %g", static_cast<double>(options.top_p));
  }
  PL_RETURN_IF_ERROR(problems.to_status(PL_INVALID_ARGUMENT, "sampling options:"));
  return Sampler(options);
}

Result<int64_t> Sampler::sample(Span<const float> logits) {
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return error(PL_BACKEND_EXECUTION, "the logit of token %zu is not a number", i);
    if (logits[i] > logits[best]) best = i;
  }
  // A sum of exp(inf - inf) is not a number: there would be nothing to draw from.
  if (logits.empty() || !std::isfinite(logits[best])) {
    return error(PL_BACKEND_EXECUTION, "the largest logit is not finite");
  }
  if (options_.temperature == 0.0F) return static_cast<int64_t>(best);
  return draw(logits, logits[best]);
}

int64_t Sampler::draw(Span<const float> logits, float largest) {
  weights_.resize(logits.size());
  double total = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    weights_[i] = std::exp((static_cast<double>(logits[i]) - largest) / options_.temperature);
    total += weights_[i];
  }
  const double unit = static_cast<double>(random_.next() >> 11) * 0x1.0p-53;
  if (options_.top_p < 1.0F) return draw_nucleus(total, unit);
  double left = unit * total;
  size_t last = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] == 0.0) continue;
    last = i;  // rounding may leave a remainder after the last token that can be drawn
    left -= weights_[i];
    if (left < 0.0) break;
  }
  return static_cast<int64_t>(last);
}

int64_t Sampler::draw_nucleus(double total, double unit) {
  order_.resize(weights_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto more_probable = [this](int32_t a, int32_t b) {
    const double wa = weights_[static_cast<size_t>(a)];
    const double wb = weights_[static_cast<size_t>(b)];
    return wa > wb || (wa == wb && a < b);
  };
  // A nucleus is mostly small, a vocabulary is not: sort twice as many as before until they hold enough.
  const double enough = static_cast<double>(options_.top_p) * total;
  double kept = 0.0;
  size_t count = 0;
  for (size_t sorted = 0; count < order_.size() && kept < enough;) {
    const size_t until = std::min(order_.size(), std::max<size_t>(64, 2 * sorted));
    const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(sorted);
    std::partial_sort(begin, order_.begin() + static_cast<std::ptrdiff_t>(until), order_.end(), more_probable);
    sorted = until;
    while (count < sorted && kept < enough) kept += weights_[static_cast<size_t>(order_[count++])];
  }
  double left = unit * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weights_[static_cast<size_t>(order_[i])];
    if (left < 0.0) return order_[i];
  }
  return order_[count - 1];
}

}  // namespace pocketlora
