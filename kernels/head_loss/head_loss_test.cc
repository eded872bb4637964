#include "kernels/head_loss/head_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/head_loss/test_case.h"
#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"

namespace pocketlora {
namespace {

using test::check_case;
using test::Guarded;
using test::HeadCase;
using test::Q4Shape;
using test::TestMatrix;

void check(HeadLossKernel kernel) {
  const Q4Shape shapes[] = {{16, 128, Quant::kNf4, 64},
                            {1, 40, Quant::kInt4, 32},
                            {481, 65, Quant::kNf4, 64},
                            {1000, 96, Quant::kInt4, 32},
                            {333, 200, Quant::kInt4, 128}};
  for (const Q4Shape& shape : shapes) {
    for (int64_t n_rows : {1, 2, 3, 5, 8, 17, 33}) {
      check_case(kernel, HeadCase(shape, n_rows, n_rows % 2 == 0, 1.0f));
      check_case(kernel, HeadCase(shape, n_rows, n_rows % 2 == 0, 1.0f, {}, 1.5f));
      if (::testing::Test::HasFailure()) return;
    }
  }
  check_case(kernel, HeadCase({50, 40, Quant::kNf4, 64}, 300, true, 2.0f));
}

/// Logits of several hundreds: the maximum moves often, most probabilities underflow.
void check_extreme(HeadLossKernel kernel) {
  for (float deviation : {30.0f, 300.0f, 1e-4f}) {
    for (float cap : {0.0f, 30.0f})
      check_case(kernel, HeadCase({1000, 64, Quant::kNf4, 64}, 7, true, deviation, {}, cap));
  }
}

void check_all_ignored(HeadLossKernel kernel) {
  check_case(kernel, HeadCase({40, 64, Quant::kNf4, 64}, 4, false, 1.0f, {-100, -100, -100, -100}));
}

/// A NaN in h must not vanish.
void check_nan(HeadLossKernel kernel, float softcap) {
  HeadCase c({40, 64, Quant::kNf4, 64}, 2, false, 1.0f, {3, 39});
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

void check_all(HeadLossKernel kernel, Compute compute) {
  const ComputeScope scope(compute);
  check(kernel);
  check_extreme(kernel);
  check_all_ignored(kernel);
  check_nan(kernel, 0);
  check_nan(kernel, 30);
}

#define PL_KERNEL(isa, function)                                                              \
  TEST(HeadLoss, function) {                                                                  \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported";  \
    check_all(function, Compute::kFloat32);                                                   \
    if (test::head_computes(Compute::kInt16, Isa::isa)) check_all(function, Compute::kInt16); \
  }
#include "kernels/head_loss/kernels.inc"
#undef PL_KERNEL

void check_differences(float softcap) {
  const HeadCase c({120, 64, Quant::kInt4, 32}, 4, true, 1.0f, {}, softcap);
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
  const HeadCase c({1100, 200, Quant::kNf4, 64}, 40, true, 3.0f, {}, 5.0f);
  const int64_t n = c.n_rows;
  for (const Compute compute : {Compute::kFloat32, Compute::kInt16, Compute::kInt8, Compute::kBf16}) {
    for (Isa isa : supported_isas()) {
      if (compute != Compute::kFloat32 && !test::head_computes(compute, isa)) continue;
      test::expect_same_on_threads(n + 1 + n * 200, isa_name(isa), [&](float* out) {
        const ComputeScope scope(compute);
        head_loss(c.h.data(), n, c.w.matrix(), c.bias.data(), c.softcap, c.labels.data(), c.weights.data(), out,
                  out + n, out + n + 1, isa);
      });
    }
  }
}

double norm(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

/// What docs/layout.md says of random rows, in integers against fp32, with s = the deviation of the logits. These are
/// off by 7.5e-5 s (Linear4Integers.RandomRows), so log p of a label is by sqrt(2) times that. A chunk's probabilities
/// have steps of their largest / 32767 or less, 64 of them are off by 8 / sqrt(12) steps: 7e-5 of W's size. W's own
/// steps are 1e-4 of the largest scale, 1.5, of values of 0.58 on average, which is as much again. The error of the
/// logits comes into dh with probabilities whose squares have a sum of at most 1. With int8 steps are 127: 1.8e-2 and
/// 5.9e-3; the logits are off by 8e-3 s. With bf16 p is off by 1.5e-3 and W by 1.8e-3 of themselves, and the logits
/// by 2.4e-3 s.
void check_integers(Compute compute, Isa isa, double step_error, double logit_error) {
  for (const float deviation : {1.0f, 20.0f}) {
    HeadCase c({1700, 512, Quant::kNf4, 64}, 60, false, deviation);
    std::fill(c.weights.data(), c.weights.data() + c.n_rows, 1.0f);
    for (int64_t i = 0; i < c.n_rows; ++i) c.labels.data()[i] = i * 28;
    const auto size = static_cast<size_t>(c.n_rows);
    std::vector<float> logits(size * 1700), logprobs(size), dh(size * 512), logprobs_integers(size),
        dh_integers(dh.size());
    float loss = 0.0f;
    linear4(c.h.data(), c.n_rows, c.w.matrix(), nullptr, logits.data(), isa);
    head_loss(c.h.data(), c.n_rows, c.w.matrix(), nullptr, 0, c.labels.data(), c.weights.data(), logprobs.data(), &loss,
              dh.data(), isa);
    {
      const ComputeScope scope(compute);
      head_loss(c.h.data(), c.n_rows, c.w.matrix(), nullptr, 0, c.labels.data(), c.weights.data(),
                logprobs_integers.data(), &loss, dh_integers.data(), isa);
    }
    const double s = norm({logits.begin(), logits.end()}) / std::sqrt(static_cast<double>(logits.size()));
    const double w = norm({c.values.begin(), c.values.end()}) / std::sqrt(1700.0);
    std::vector<double> logprob_errors, dh_errors;
    for (size_t i = 0; i < size; ++i) logprob_errors.push_back(static_cast<double>(logprobs_integers[i] - logprobs[i]));
    for (size_t i = 0; i < dh.size(); ++i) dh_errors.push_back(static_cast<double>(dh_integers[i] - dh[i]));
    const double rows = std::sqrt(static_cast<double>(c.n_rows));
    const double logprob_error = norm(logprob_errors) / rows, dh_error = norm(dh_errors) / rows / w;
    EXPECT_LE(logprob_error, std::sqrt(2.0) * logit_error * s + test::sum_bound(512, s)) << isa_name(isa);
    EXPECT_LE(dh_error, step_error + logit_error * s) << isa_name(isa);
    EXPECT_NE(dh_integers, dh) << isa_name(isa) << ": integers are another computation";
  }
}

/// By the instruction sets that have them; the others give fp32's bits, or those of what they compute instead.
void check_integers(Compute compute, double step_error, double logit_error) {
  const HeadCase c({40, 64, Quant::kNf4, 64}, 20, false, 1.0f);
  for (const Isa isa : supported_isas()) {
    if (test::head_computes(compute, isa)) {
      check_integers(compute, isa, step_error, logit_error);
      continue;
    }
    const Compute told = computed_as(compute, c.n_rows, isa);
    const Compute instead = test::head_computes(told, isa) ? told : Compute::kFloat32;
    std::vector<float> found[2];
    for (const Compute each : {compute, instead}) {
      std::vector<float>& dh = found[each == instead];
      dh.resize(20 * 64);
      std::vector<float> logprobs(20);
      float loss = 0.0f;
      const ComputeScope scope(each);
      head_loss(c.h.data(), c.n_rows, c.w.matrix(), nullptr, 0, c.labels.data(), c.weights.data(), logprobs.data(),
                &loss, dh.data(), isa);
    }
    EXPECT_EQ(found[0], found[1]) << isa_name(isa) << ", " << compute_name(compute);
  }
}

TEST(HeadLoss, Int16OnRandomRows) { check_integers(Compute::kInt16, 1.05e-4, 7.5e-5); }

TEST(HeadLoss, Int8OnRandomRows) { check_integers(Compute::kInt8, 1.92e-2, 8e-3); }

TEST(HeadLoss, Bf16OnRandomRows) { check_integers(Compute::kBf16, 2.5e-3, 2.5e-3); }

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
