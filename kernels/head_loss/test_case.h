#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/head_loss/head_loss.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/test_fixed.h"
#include "kernels/q4/test_matrix.h"

/// One call of the head's loss, and what it should give, in double.
namespace pocketlora::test {

/// @return whether the head has products of its own for `compute` and more than 16 rows: NEON's has for bf16 only.
inline bool head_computes(Compute compute, Isa isa) {
  const bool neon = isa_serves(Isa::kNeon, isa);
  return computed_as(compute, kFewRows + 1, isa) == compute && !(neon && compute == Compute::kInt8);
}

/// One case: h is scaled to give logits of about `deviation`; a cap of 0 is none.
struct HeadCase {
  HeadCase(const Q4Shape& the_shape, int64_t rows, bool with_bias, float deviation,
           std::vector<int64_t> the_labels = {}, float cap = 0)
      : shape(the_shape),
        n_rows(rows),
        w(shape, 41),
        values(w.values()),
        h(random_floats(rows * shape.cols, 42, deviation)),
        bias(random_floats(shape.rows, 43)),
        labels(the_labels.empty() ? random_labels(rows, shape.rows) : the_labels),
        weights(random_floats(rows, 44)),
        has_bias(with_bias),
        softcap(cap) {}

  /// Every third row is ignored.
  static std::vector<int64_t> random_labels(int64_t rows, int64_t vocabulary) {
    std::mt19937 engine(45);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < rows; ++i) {
      labels.push_back(i % 3 == 1 ? kIgnoredLabel : static_cast<int64_t>(engine() % static_cast<uint32_t>(vocabulary)));
    }
    return labels;
  }

  Q4Shape shape;
  int64_t n_rows;
  TestMatrix w;
  std::vector<float> values;
  Guarded<float> h, bias;
  Guarded<int64_t> labels;
  Guarded<float> weights;
  bool has_bias;
  float softcap;
};

/// The whole softmax of one row in double.
struct HeadSoftmax {
  std::vector<double> p, slope;  ///< slope of each logit's cap
  double logprob = 0.0;
  double logit_bound = 0.0;  ///< of the fp32 logits' rounding error
  double slope_bound = 0.0;  ///< of the fp32 slopes' error

  HeadSoftmax(const HeadCase& c, int64_t i) : p(static_cast<size_t>(c.shape.rows)), slope(p.size(), 1.0) {
    double maximum = -INFINITY, sum = 0.0;
    for (int64_t v = 0; v < c.shape.rows; ++v) {
      double logit = c.has_bias ? c.bias[v] : 0.0;
      double magnitude = std::abs(logit);
      for (int64_t k = 0; k < c.shape.cols; ++k) {
        const double term =
            static_cast<double>(c.h[i * c.shape.cols + k]) * c.values[static_cast<size_t>(v * c.shape.cols + k)];
        logit += term;
        magnitude += std::abs(term);
      }
      // A cap's slope is at most 1; tanh (4 ulp), its quotient and product add 12 roundings to the logit.
      double bound = sum_bound(c.shape.cols, magnitude);
      if (active_compute() != Compute::kFloat32)
        bound += forward_bound(int16_scheme(), c.w, c.h.data() + i * c.shape.cols, v);
      if (c.softcap > 0) {
        const double t = std::tanh(logit / c.softcap);
        logit = c.softcap * t;
        slope[static_cast<size_t>(v)] = 1 - t * t;
        bound = bound * (1 - t * t) + sum_bound(12, std::abs(logit), 0);
        slope_bound = std::max(slope_bound, 2 * std::abs(t) * bound / c.softcap + sum_bound(4, 1.0, 0));
      }
      p[static_cast<size_t>(v)] = logit;
      maximum = std::max(maximum, logit);
      // The difference to the maximum is rounded once more.
      logit_bound = std::max(logit_bound, bound + sum_bound(1, std::abs(logit)));
    }
    const double label_logit = p[static_cast<size_t>(c.labels[i])];
    for (double& value : p) {
      value = std::exp(value - maximum);
      sum += value;
    }
    for (double& value : p) value /= sum;
    logprob = label_logit - maximum - std::log(sum);
  }
};

inline void check_row(const HeadCase& c, int64_t i, float logprob, const float* dh, double& loss, double& loss_bound) {
  const HeadSoftmax softmax(c, i);
  // An error e in every logit moves log p by at most 2e and p by a factor of exp(2e); exp() itself and the sums over
  // the vocabulary add their roundings.
  const double relative = std::expm1(2 * softmax.logit_bound) + sum_bound(c.shape.rows, 1.0, 32);
  const double bound =
      2 * softmax.logit_bound + sum_bound(c.shape.rows, 1.0, 32) + sum_bound(1, std::abs(softmax.logprob));
  expect_near(logprob, softmax.logprob, bound, "logprob of row " + std::to_string(i));
  loss -= static_cast<double>(c.weights[i]) * softmax.logprob;
  loss_bound += std::abs(static_cast<double>(c.weights[i])) * bound;
  std::vector<double> dy;
  for (size_t v = 0; v < softmax.p.size(); ++v) dy.push_back(softmax.p[v] * softmax.slope[v]);
  for (int64_t k = 0; k < c.shape.cols; ++k) {
    double sum = 0.0, magnitude = 0.0, column = 0.0;
    for (int64_t v = 0; v < c.shape.rows; ++v) {
      const double value = c.values[static_cast<size_t>(v * c.shape.cols + k)];
      sum += softmax.p[static_cast<size_t>(v)] * softmax.slope[static_cast<size_t>(v)] * value;
      magnitude += softmax.p[static_cast<size_t>(v)] * std::abs(value);
      column += std::abs(value);
    }
    const double label_weight = c.values[static_cast<size_t>(c.labels[i] * c.shape.cols + k)];
    const double label_value = softmax.slope[static_cast<size_t>(c.labels[i])] * label_weight;
    const double weight = c.weights[i];
    // Below the normal numbers a probability, and each step of its sum, is only good to the spacing of the smallest.
    double underflow = 2 * std::numeric_limits<float>::denorm_min() * (column + static_cast<double>(c.shape.rows));
    if (active_compute() != Compute::kFloat32) {
      // The products' steps grow with the probabilities. A chunk whose step would be below 1e-33 vanishes.
      underflow += backward_bound(int16_scheme(), c.w, dy.data(), k) * (1 + relative) + 32767 * 1e-33 * column;
    }
    const double dh_bound = std::abs(weight) * (relative * magnitude + underflow +
                                                softmax.slope_bound * (magnitude + std::abs(label_weight)) +
                                                sum_bound(4, std::abs(label_value) + magnitude));
    expect_near(dh[k], weight * (sum - label_value), dh_bound,
                [&] { return "dh at " + std::to_string(i) + ", " + std::to_string(k) + " of " + describe(c.shape); });
  }
}

inline void check_case(HeadLossKernel kernel, const HeadCase& c) {
  Guarded<float> logprobs(c.n_rows), loss(1), dh(c.n_rows * c.shape.cols);
  kernel(c.h.data(), c.n_rows, c.w.matrix(), c.has_bias ? c.bias.data() : nullptr, c.softcap, c.labels.data(),
         c.weights.data(), logprobs.data(), loss.data(), dh.data());
  double expected_loss = 0.0, loss_bound = 0.0;
  for (int64_t i = 0; i < c.n_rows; ++i) {
    if (c.labels[i] == kIgnoredLabel) {
      EXPECT_EQ(logprobs[i], 0.0f);
      for (int64_t k = 0; k < c.shape.cols; ++k) EXPECT_EQ(dh[i * c.shape.cols + k], 0.0f);
      continue;
    }
    check_row(c, i, logprobs[i], dh.data() + i * c.shape.cols, expected_loss, loss_bound);
  }
  expect_near(loss[0], expected_loss, loss_bound + sum_bound(1, std::abs(expected_loss)), "loss");
}

}  // namespace pocketlora::test
