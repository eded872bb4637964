#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/common/test_support.h"

/**
 * Attention and its gradients by definition, in double, with a bound on the error of a fp32 computation of each value.
 * With u = 2^-24 and γ(n) = n·u / (1 − n·u) (sum_bound): a score's error is γ(D)·scale·Σ|q·k|, two
 * roundings of which are those of a stored row's scale; it, the rounding of s −
 * m and 2 ulp of exp are the relative error of exp(s − m); sums over keys and over query rows add γ of their length.
 * A soft cap's slope is at most 1, so it does not widen a score's error; its quotient, 4 ulp of tanh and a product add
 * 11 u of the score, and 1 − t² is off by 2·|t| times t's error and two roundings.
 */
namespace pocketlora::test {

/** Random inputs of one call. */
struct AttentionCase {
  AttentionCase(int64_t heads, int64_t kv_heads, int64_t dim, const std::vector<int64_t>& lengths,
                int64_t largest_window = 0, float score_cap = 0)
      : num_heads(heads), num_kv_heads(kv_heads), head_dim(dim), window(largest_window), softcap(score_cap) {
    segments.push_back(0);
    for (const int64_t length : lengths) segments.push_back(segments.back() + length);
    q = random_floats(q_size(), 21);
    k = random_floats(kv_size(), 22);
    v = random_floats(kv_size(), 23);
    dout = random_floats(q_size(), 24);
  }

  int64_t n_rows() const { return segments.back(); }
  int64_t num_segments() const { return static_cast<int64_t>(segments.size()) - 1; }
  int64_t group() const { return num_heads / num_kv_heads; }
  int64_t q_stride() const { return num_heads * head_dim; }
  int64_t kv_stride() const { return num_kv_heads * head_dim; }
  int64_t q_size() const { return n_rows() * q_stride(); }
  int64_t kv_size() const { return n_rows() * kv_stride(); }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
  AttentionShape shape() const { return {n_rows(), num_heads, num_kv_heads, head_dim, scale(), window, softcap}; }
  /** What becomes of a scaled product. */
  double capped(double score) const { return softcap > 0 ? softcap * std::tanh(score / softcap) : score; }
  std::string name() const {
    return std::to_string(num_heads) + ":" + std::to_string(num_kv_heads) + " heads of " + std::to_string(head_dim) +
           ", " + std::to_string(n_rows()) + " rows, window " + std::to_string(window) + ", cap " +
           std::to_string(softcap) + ",";
  }

  int64_t num_heads, num_kv_heads, head_dim, window;
  float softcap;
  std::vector<int64_t> segments;
  std::vector<float> q, k, v, dout;
};

/** The inputs in double, for differences. */
struct WideInputs {
  explicit WideInputs(const AttentionCase& c)
      : q(c.q.begin(), c.q.end()), k(c.k.begin(), c.k.end()), v(c.v.begin(), c.v.end()) {}
  std::vector<double> q, k, v;
};

/** Calls f(head, first row that is seen, row) for every row of every query head. */
template <class F>
void for_each_row(const AttentionCase& c, F f) {
  for (int64_t s = 0; s < c.num_segments(); ++s) {
    for (int64_t head = 0; head < c.num_heads; ++head) {
      for (int64_t i = c.segments[static_cast<size_t>(s)]; i < c.segments[static_cast<size_t>(s) + 1]; ++i) {
        const int64_t first = c.segments[static_cast<size_t>(s)];
        f(head, c.window > 0 ? std::max(first, i + 1 - c.window) : first, i);
      }
    }
  }
}

/** Σ a[x + d] · b[y + d]. @param magnitude that of the absolute values, where it is asked for. */
template <class A, class B>
double wide_dot(const A& a, int64_t x, const B& b, int64_t y, int64_t n, double* magnitude = nullptr) {
  double sum = 0, absolute = 0;
  for (int64_t d = 0; d < n; ++d) {
    const double term = static_cast<double>(a[static_cast<size_t>(x + d)]) * b[static_cast<size_t>(y + d)];
    sum += term;
    if (magnitude != nullptr) absolute += std::abs(term);
  }
  if (magnitude != nullptr) *magnitude = absolute;
  return sum;
}

/** Σ dout · attention(q, k, v): the function whose gradients the backward computes. */
inline double weighted_output(const AttentionCase& c, const WideInputs& x) {
  double total = 0;
  for_each_row(c, [&](int64_t head, int64_t first, int64_t i) {
    const int64_t q = i * c.q_stride() + head * c.head_dim, kv_head = head / c.group() * c.head_dim;
    double norm = 0, sum = 0;
    for (int64_t j = first; j <= i; ++j) {
      const int64_t kv = j * c.kv_stride() + kv_head;
      const double p = std::exp(c.capped(c.scale() * wide_dot(x.q, q, x.k, kv, c.head_dim)));
      norm += p;
      sum += p * wide_dot(c.dout, q, x.v, kv, c.head_dim);
    }
    total += sum / norm;
  });
  return total;
}

/** Values and the bounds on their errors. */
struct Bounded {
  explicit Bounded(int64_t size) : value(static_cast<size_t>(size), 0.0), bound(static_cast<size_t>(size), 0.0) {}
  void add(int64_t at, double v, double b) {
    value[static_cast<size_t>(at)] += v;
    bound[static_cast<size_t>(at)] += b;
  }
  std::vector<double> value, bound;
};

class AttentionReference {
 public:
  explicit AttentionReference(const AttentionCase& c) : AttentionReference(c, 0, true) {}

  /** Only the outputs, of the rows from `first_row` on. */
  static AttentionReference forward(const AttentionCase& c, int64_t first_row) {
    return AttentionReference(c, first_row, false);
  }

  Bounded out, lse, dq, dk, dv;

 private:
  AttentionReference(const AttentionCase& c, int64_t first_row, bool backward)
      : out(c.q_size()), lse(c.n_rows() * c.num_heads), dq(c.q_size()), dk(c.kv_size()), dv(c.kv_size()), c_(c) {
    for_each_row(c, [&](int64_t head, int64_t first, int64_t i) {
      if (i >= first_row) add_row(head, first, i, backward);
    });
    for (Bounded* result : {&out, &lse, &dq, &dk, &dv}) {
      // Products of errors, and what is below the normal numbers.
      for (double& bound : result->bound) bound = 1.01 * bound + 1e-37;
    }
  }

  static constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;
  static constexpr double kSmallest = std::numeric_limits<float>::denorm_min();

  /** One key as a row sees it: its score, the score's slope in the scaled product, and their errors. */
  struct Key {
    int64_t at;
    double score, error, slope, slope_error;
  };

  Key key_of(int64_t at, double product, double error) const {
    if (c_.softcap == 0) return {at, product, error, 1, 0};
    const double t = std::tanh(product / c_.softcap), slope = 1 - t * t;
    const double t_error = slope * error / c_.softcap + 10 * kUnit * std::abs(t);
    return {at, c_.softcap * t, c_.softcap * t_error + kUnit * c_.softcap * std::abs(t), slope,
            2 * std::abs(t) * t_error + 2 * kUnit};
  }

  void add_row(int64_t head, int64_t first, int64_t i, bool backward) {
    const int64_t dim = c_.head_dim, q = i * c_.q_stride() + head * dim;
    std::vector<Key> keys;
    double maximum = -INFINITY;
    for (int64_t j = first; j <= i; ++j) {
      const int64_t at = j * c_.kv_stride() + head / c_.group() * dim;
      double magnitude = 0;
      const double product = c_.scale() * wide_dot(c_.q, q, c_.k, at, dim, &magnitude);
      keys.push_back(key_of(at, product, sum_bound(dim, c_.scale() * magnitude, 4)));
      maximum = std::max(maximum, keys.back().score);
    }
    const double log_sum = add_forward(keys, maximum, q, i * c_.num_heads + head);
    if (backward) add_backward(keys, maximum + log_sum, q);
  }

  /** @return log Σ exp(s − maximum). */
  double add_forward(const std::vector<Key>& keys, double maximum, int64_t q, int64_t row) {
    const int64_t n = static_cast<int64_t>(keys.size());
    double sum = 0, worst = 0;
    for (const Key& key : keys) {
      sum += std::exp(key.score - maximum);
      worst = std::max(worst, exp_error(key, maximum));
    }
    for (const Key& key : keys) {
      const double p = std::exp(key.score - maximum) / sum;
      const double relative = exp_error(key, maximum) + worst + sum_factor(2 * n);
      for (int64_t d = 0; d < c_.head_dim; ++d) {
        const double term = p * c_.v[static_cast<size_t>(key.at + d)];
        out.add(q + d, term, std::abs(term) * relative + kSmallest);
      }
    }
    const double log_sum = std::log(sum);
    const double magnitudes = 1 + std::abs(log_sum) + std::abs(maximum) + std::abs(maximum + log_sum);
    lse.add(row, maximum + log_sum, worst + sum_bound(n, 1) + 4 * kUnit * magnitudes);
    return log_sum;
  }

  void add_backward(const std::vector<Key>& keys, double log_sum_exp, int64_t q) {
    const int64_t dim = c_.head_dim;
    // What a sum over the keys, or over the query rows, adds to each of its terms' errors.
    const double over_keys = sum_factor(static_cast<int64_t>(keys.size()));
    const double over_rows = sum_factor(c_.n_rows() * c_.group());
    double delta = 0, delta_magnitude = 0;
    for (int64_t d = 0; d < dim; ++d) {
      const double term = c_.dout[static_cast<size_t>(q + d)] * out.value[static_cast<size_t>(q + d)];
      delta += term;
      delta_magnitude += std::abs(term);
    }
    for (const Key& key : keys) {
      const double p = std::exp(key.score - log_sum_exp);
      const double p_error = p * (exp_error(key, log_sum_exp) + kUnit * std::abs(log_sum_exp));
      double magnitude = 0;
      const double dp = wide_dot(c_.dout, q, c_.v, key.at, dim, &magnitude) - delta;
      const double dp_error = sum_bound(dim, magnitude + delta_magnitude, 2) + 3 * kUnit * std::abs(dp);
      const double ds = c_.scale() * p * dp * key.slope;
      const double ds_error =
          c_.scale() * ((p_error * std::abs(dp) + p * dp_error) * key.slope + p * std::abs(dp) * key.slope_error);
      for (int64_t d = 0; d < dim; ++d) {
        const size_t row = static_cast<size_t>(q + d);
        add_product(dq, q + d, ds, ds_error, c_.k[static_cast<size_t>(key.at + d)], over_keys);
        add_product(dk, key.at + d, ds, ds_error, c_.q[row], over_rows);
        add_product(dv, key.at + d, p, p_error, c_.dout[row], over_rows);
      }
    }
  }

  /** The relative error of exp(score − shift) in fp32. */
  static double exp_error(const Key& key, double shift) {
    return key.error + kUnit * std::abs(key.score - shift) + 4 * kUnit;
  }

  /** One term of a sum of products of a weight that has an error. @param factor the sum's sum_factor(). */
  static void add_product(Bounded& result, int64_t at, double weight, double error, double x, double factor) {
    result.add(at, weight * x, error * std::abs(x) + factor * std::abs(weight * x) + kSmallest);
  }

  const AttentionCase& c_;
};

}  // namespace pocketlora::test
