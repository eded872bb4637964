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
  if (options.top_k < 0) {
    problems.addf("top_k: expected 0 or more, found %lld", static_cast<long long>(options.top_k));
  }
  if (!(options.min_p >= 0.0F && options.min_p <= 1.0F)) {
    problems.addf("min_p: expected 0 to 1, found %g", static_cast<double>(options.min_p));
  }
  if (!std::isfinite(options.repetition_penalty) || options.repetition_penalty <= 0.0F) {
    problems.addf("repetition_penalty: expected more than 0, found %g",
                  static_cast<double>(options.repetition_penalty));
  }
  PL_RETURN_IF_ERROR(problems.to_status(PL_INVALID_ARGUMENT, "sampling options:"));
  return Sampler(options);
}

Span<const float> Sampler::penalized(Span<const float> logits, Span<const int64_t> seen) {
  penalized_.assign(logits.begin(), logits.end());
  for (const int64_t token : seen) {
    const float logit = logits[static_cast<size_t>(token)];  // a token seen twice is penalized once
    const float penalty = options_.repetition_penalty;
    penalized_[static_cast<size_t>(token)] = logit > 0.0F ? logit / penalty : logit * penalty;
  }
  return Span<const float>(penalized_.data(), penalized_.size());
}

Result<int64_t> Sampler::sample(Span<const float> logits, Span<const int64_t> seen) {
  if (options_.repetition_penalty != 1.0F) logits = penalized(logits, seen);
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
  return filtered() ? draw_kept(total, unit) : draw_any(total, unit);
}

int64_t Sampler::draw_any(double total, double unit) const {
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

void Sampler::sort_until(size_t until) {
  const auto more_probable = [this](int32_t a, int32_t b) {
    const double wa = weights_[static_cast<size_t>(a)];
    const double wb = weights_[static_cast<size_t>(b)];
    return wa > wb || (wa == wb && a < b);
  };
  const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  std::partial_sort(begin, order_.begin() + static_cast<std::ptrdiff_t>(until), order_.end(), more_probable);
  sorted_ = until;
}

int64_t Sampler::draw_kept(double total, double unit) {
  order_.resize(weights_.size());
  std::iota(order_.begin(), order_.end(), 0);
  sorted_ = 0;
  const auto weight = [this](size_t place) { return weights_[static_cast<size_t>(order_[place])]; };
  size_t most = order_.size();
  if (options_.top_k > 0) {
    most = std::min(most, static_cast<size_t>(options_.top_k));
    sort_until(most);
    total = 0.0;
    for (size_t i = 0; i < most; ++i) total += weight(i);
  }
  const double enough = static_cast<double>(options_.top_p) * total;
  double kept = 0.0;
  size_t count = 0;
  // What is kept is mostly few, a vocabulary is not: sort twice as many as before until they hold enough.
  while (count < most && (options_.top_p == 1.0F || kept < enough)) {
    if (count == sorted_) sort_until(std::min(most, std::max<size_t>(64, 2 * sorted_)));
    if (weight(count) < static_cast<double>(options_.min_p) * weight(0)) break;
    kept += weight(count++);
  }
  double left = unit * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weight(i);
    if (left < 0.0) return order_[i];
  }
  while (count > 1 && weight(count - 1) == 0.0) --count;
  return order_[count - 1];
}

}  // namespace pocketlora
