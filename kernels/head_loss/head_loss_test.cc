#include "kernels/head_loss/head_loss.h"

#include <gtest/gtest.h>

#include "kernels/q4/test_matrix.h"

namespace pocketlora {
namespace {

using test::Guarded;
using test::Q4Shape;
using test::TestMatrix;

/// One case: h is scaled to give logits of about `deviation`; a cap of 0 is none.
struct Case {
  Case(const Q4Shape& the_shape, int64_t rows, bool with_bias, float deviation, std::vector<int64_t> the_labels = {},
       float cap = 0)
      : shape(the_shape),
        n_rows(rows),
        w(shape, 41),
        values(w.values()),
        h(test::random_floats(rows * shape.cols, 42, deviation)),
        bias(test::random_floats(shape.rows, 43)),
        labels(the_labels.empty() ? random_labels(rows, shape.rows) : the_labels),
        weights(test::random_floats(rows, 44)),
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
struct Softmax {
  std::vector<double> p, slope;  ///< slope of each logit's cap
  double logprob = 0.0;
  double logit_bound = 0.0;  ///< of the fp32 logits' rounding error
  double slope_bound = 0.0;  ///< of the fp32 slopes' error

  Softmax(const Case& c, int64_t i) : p(static_cast<size_t>(c.shape.rows)), slope(p.size(), 1.0) {
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
      double bound = test::sum_bound(c.shape.cols, magnitude);
      if (c.softcap > 0) {
        const double t = std::tanh(logit / c.softcap);
        logit = c.softcap * t;
        slope[static_cast<size_t>(v)] = 1 - t * t;
        bound = bound * (1 - t * t) + test::sum_bound(12, std::abs(logit), 0);
        slope_bound = std::max(slope_bound, 2 * std::abs(t) * bound / c.softcap + test::sum_bound(4, 1.0, 0));
      }
      p[static_cast<size_t>(v)] = logit;
      maximum = std::max(maximum, logit);
      // The difference to the maximum is rounded once more.
      logit_bound = std::max(logit_bound, bound + test::sum_bound(1, std::abs(logit)));
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

void check_row(const Case& c, int64_t i, float logprob, const float* dh, double& loss, double& loss_bound) {
  const Softmax softmax(c, i);
  // An error e in every logit moves log p by at most 2e and p by a factor of exp(2e); exp() itself and the sums over
  // the vocabulary add their roundings.
  const double relative = std::expm1(2 * softmax.logit_bound) + test::sum_bound(c.shape.rows, 1.0, 32);
  const double bound =
      2 * softmax.logit_bound + test::sum_bound(c.shape.rows, 1.0, 32) + test::sum_bound(1, std::abs(softmax.logprob));
  test::expect_near(logprob, softmax.logprob, bound, "logprob of row " + std::to_string(i));
  loss -= static_cast<double>(c.weights[i]) * softmax.logprob;
  loss_bound += std::abs(static_cast<double>(c.weights[i])) * bound;
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
    const double underflow =
        2 * std::numeric_limits<float>::denorm_min() * (column + static_cast<double>(c.shape.rows));
    const double dh_bound = std::abs(weight) * (relative * magnitude + underflow +
                                                softmax.slope_bound * (magnitude + std::abs(label_weight)) +
                                                test::sum_bound(4, std::abs(label_value) + magnitude));
    test::expect_near(dh[k], weight * (sum - label_value), dh_bound, [&] {
      return "dh at " + std::to_string(i) + ", " + std::to_string(k) + " of " + test::describe(c.shape);
    });
  }
}

void check_case(HeadLossKernel kernel, const Case& c) {
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
  test::expect_near(loss[0], expected_loss, loss_bound + test::sum_bound(1, std::abs(expected_loss)), "loss");
}

void check(HeadLossKernel kernel) {
  const Q4Shape shapes[] = {{16, 128, Quant::kNf4, 64},
                            {1, 40, Quant::kInt4, 32},
                            {481, 65, Quant::kNf4, 64},
                            {1000, 96, Quant::kInt4, 32},
                            {333, 200, Quant::kInt4, 128}};
  for (const Q4Shape& shape : shapes) {
    for (int64_t n_rows : {1, 2, 3, 5, 8, 17, 33}) {
      check_case(kernel, Case(shape, n_rows, n_rows % 2 == 0, 1.0f));
      check_case(kernel, Case(shape, n_rows, n_rows % 2 == 0, 1.0f, {}, 1.5f));
      if (::testing::Test::HasFailure()) return;
    }
  }
  check_case(kernel, Case({50, 40, Quant::kNf4, 64}, 300, true, 2.0f));
}

/// Logits of several hundreds: the maximum moves often, most probabilities underflow.
void check_extreme(HeadLossKernel kernel) {
  for (float deviation : {30.0f, 300.0f, 1e-4f}) {
    for (float cap : {0.0f, 30.0f}) check_case(kernel, Case({1000, 64, Quant::kNf4, 64}, 7, true, deviation, {}, cap));
  }
}

void check_all_ignored(HeadLossKernel kernel) {
  check_case(kernel, Case({40, 64, Quant::kNf4, 64}, 4, false, 1.0f, {-100, -100, -100, -100}));
}

/// A NaN in h must not vanish.
void check_nan(HeadLossKernel kernel, float softcap) {
  Case c({40, 64, Quant::kNf4, 64}, 2, false, 1.0f, {3, 39});
  c.h[64] = NAN;
  Guarded<float> logprobs(2), loss(1), dh(2 * 64);
  kernel(c.h.data(), 2, c.w.matrix(), nullptr, softcap, c.labels.data(), c.weights.data(), logprobs.data(), loss.data(),
         dh.data());
  EXPECT_TRUE(std::isfinite(logprobs[0]));
  EXPECT_TRUE(std::isnan(logprobs[1]));
  EXPECT_TRUE(std::isnan(loss[0]));
  EXPECT_TRUE(std::isnan(dh[64]));
  EXPECT_TRUE(std::isfinite(dh[0]));
}

#define PL_KERNEL(isa, function)                                                             \
  TEST(HeadLoss, function) {                                                                 \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check(function);                                                                         \
    check_extreme(function);                                                                 \
    check_all_ignored(function);                                                             \
    check_nan(function, 0);                                                                  \
    check_nan(function, 30);                                                                 \
  }
#include "kernels/head_loss/kernels.inc"
#undef PL_KERNEL

void check_differences(float softcap) {
  const Case c({120, 64, Quant::kInt4, 32}, 4, true, 1.0f, {}, softcap);
  const std::vector<float> direction = test::random_floats(c.h.size(), 46);
  const auto objective = [&](double step) {
    double loss = 0.0;
    for (int64_t i = 0; i < c.n_rows; ++i) {
      if (c.labels[i] == kIgnoredLabel) continue;
      std::vector<double> logits;
      double sum = 0.0;
      for (int64_t v = 0; v < 120; ++v) {
        double logit = c.bias[v];
        for (int64_t k = 0; k < 64; ++k) {
          logit += (c.h[i * 64 + k] + step * direction[static_cast<size_t>(i * 64 + k)]) *
                   c.values[static_cast<size_t>(v * 64 + k)];
        }
        if (softcap > 0) logit = softcap * std::tanh(logit / softcap);
        logits.push_back(logit);
        sum += std::exp(logit);
      }
      loss -= c.weights[i] * (logits[static_cast<size_t>(c.labels[i])] - std::log(sum));
    }
    return loss;
  };
  // A central difference errs by h^2 / 6 times the third derivative along the line, which is at most 8 |d|^3 per row
  // for |d| = the largest change of a logit (a third central moment of the softmax). A cap c bends each logit: its
  // second and third derivatives, at most |d|^2 / c and 2 |d|^3 / c^2, come in with factors of at most 6 |d| and 2.
  const double step = 1e-4;
  const double difference = (objective(step) - objective(-step)) / (2 * step);
  double truncation = 0.0;
  for (int64_t i = 0; i < c.n_rows; ++i) {
    double largest = 0.0;
    for (int64_t v = 0; v < 120; ++v) {
      double change = 0.0;
      for (int64_t k = 0; k < 64; ++k) {
        change += direction[static_cast<size_t>(i * 64 + k)] * c.values[static_cast<size_t>(v * 64 + k)];
      }
      largest = std::max(largest, std::abs(change));
    }
    const double bend = softcap > 0 ? 6 / softcap + 4 / (softcap * softcap) : 0;
    truncation += std::abs(c.weights[i]) * (8 + bend) * std::pow(largest, 3) * step * step / 6;
  }
  for (Isa isa : supported_isas()) {
    Guarded<float> logprobs(c.n_rows), loss(1), dh(c.h.size());
    head_loss(c.h.data(), c.n_rows, c.w.matrix(), c.bias.data(), softcap, c.labels.data(), c.weights.data(),
              logprobs.data(), loss.data(), dh.data(), isa);
    double analytic = 0.0, magnitude = 0.0;
    for (int64_t i = 0; i < dh.size(); ++i) {
      analytic += static_cast<double>(dh[i]) * direction[static_cast<size_t>(i)];
      magnitude += std::abs(dh[i] * direction[static_cast<size_t>(i)]);
    }
    test::expect_near(analytic, difference, truncation + test::sum_bound(64 + 120, 2 * magnitude + 1.0), isa_name(isa));
  }
}

TEST(HeadLoss, GradientMatchesFiniteDifferences) {
  for (const float softcap : {0.0f, 2.0f}) check_differences(softcap);
}

TEST(HeadLoss, TheNumberOfThreadsDoesNotMatter) {
  const Case c({1100, 200, Quant::kNf4, 64}, 40, true, 3.0f, {}, 5.0f);
  const int64_t n = c.n_rows;
  for (Isa isa : supported_isas()) {
    test::expect_same_on_threads(n + 1 + n * 200, isa_name(isa), [&](float* out) {
      head_loss(c.h.data(), n, c.w.matrix(), c.bias.data(), c.softcap, c.labels.data(), c.weights.data(), out, out + n,
                out + n + 1, isa);
    });
  }
}

TEST(HeadLoss, NoRows) {
  const TestMatrix w({16, 128, Quant::kNf4, 64}, 47);
  for (Isa isa : supported_isas()) {
    float loss = 1.0f;
    head_loss(nullptr, 0, w.matrix(), nullptr, 0, nullptr, nullptr, nullptr, &loss, nullptr, isa);
    EXPECT_EQ(loss, 0.0f);
  }
}

}  // namespace
}  // namespace pocketlora
