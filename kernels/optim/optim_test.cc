#include "kernels/optim/optim.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;

/** AdamW by its formula in double, from a given fp32 state. */
struct WideAdamW {
  double p, m, v, update;

  WideAdamW(double p0, double g, double m0, double v0, const AdamWOptions& o) {
    p = p0 * (1 - o.learning_rate * o.weight_decay);
    m = o.beta1 * m0 + (1 - o.beta1) * g;
    v = o.beta2 * v0 + (1 - o.beta2) * g * g;
    const double t = static_cast<double>(o.step);
    const double denominator = std::sqrt(v) / std::sqrt(1 - std::pow(o.beta2, t)) + o.epsilon;
    update = o.learning_rate / (1 - std::pow(o.beta1, t)) * m / denominator;
    p -= update;
  }
};

void check_adamw(Isa isa, int64_t n, double weight_decay) {
  Guarded<float> p(test::random_floats(n, 1)), m(n), v(n);
  for (int64_t i = 0; i < n; ++i) m[i] = v[i] = 0;
  for (int64_t step = 1; step <= 5; ++step) {
    const AdamWOptions options{1e-2, 0.9, 0.999, 1e-8, weight_decay, step};
    const Guarded<float> g(test::random_floats(n, 10 + static_cast<uint32_t>(step), 0.1f));
    std::vector<WideAdamW> expected;
    std::vector<double> m_terms;
    for (int64_t i = 0; i < n; ++i) {
      expected.emplace_back(p[i], g[i], m[i], v[i], options);
      m_terms.push_back(std::abs(static_cast<double>(m[i])) + 0.1 * std::abs(static_cast<double>(g[i])));
    }
    adamw(p.data(), g.data(), m.data(), v.data(), n, options, isa);
    for (int64_t i = 0; i < n; ++i) {
      const WideAdamW& e = expected[static_cast<size_t>(i)];
      const double m_bound = 6 * kUnit * m_terms[static_cast<size_t>(i)];
      test::expect_near(m[i], e.m, m_bound, "first moment");
      test::expect_near(v[i], e.v, 6 * kUnit * e.v, "second moment");
      // The moment's error, about ten roundings of the update's factors, and two of the parameter.
      const double rate = e.m == 0 ? 0 : std::abs(e.update / e.m);
      test::expect_near(
          p[i], e.p,
          rate * m_bound + 12 * kUnit * std::abs(e.update) + 3 * kUnit * (std::abs(e.p) + std::abs(e.update)),
          "parameter");
    }
  }
}

void check_sgd(Isa isa, int64_t n, double momentum, double weight_decay) {
  Guarded<float> p(test::random_floats(n, 3)), buffer(momentum > 0 ? n : 0);
  for (int64_t i = 0; i < buffer.size(); ++i) buffer[i] = 0;
  const SgdOptions options{0.05, momentum, weight_decay};
  for (int64_t step = 1; step <= 4; ++step) {
    const Guarded<float> g(test::random_floats(n, 20 + static_cast<uint32_t>(step)));
    std::vector<double> expected, magnitude;
    for (int64_t i = 0; i < n; ++i) {
      const double old = momentum > 0 ? buffer[i] : 0.0;
      const double grad = momentum * old + g[i] + weight_decay * p[i];
      expected.push_back(p[i] - options.learning_rate * grad);
      magnitude.push_back(std::abs(static_cast<double>(p[i])) * (1 + weight_decay) + std::abs(momentum * old) +
                          std::abs(g[i]));
    }
    sgd(p.data(), g.data(), momentum > 0 ? buffer.data() : nullptr, n, options, isa);
    for (int64_t i = 0; i < n; ++i) {
      const size_t at = static_cast<size_t>(i);
      test::expect_near(p[i], expected[at], 6 * kUnit * magnitude[at], "parameter");
    }
  }
}

void check_lion(Isa isa, int64_t n, double weight_decay) {
  Guarded<float> p(test::random_floats(n, 4)), m(n);
  for (int64_t i = 0; i < n; ++i) m[i] = 0;
  const LionOptions o{0.05, 0.9, 0.99, weight_decay};
  for (int64_t step = 1; step <= 4; ++step) {
    Guarded<float> g(test::random_floats(n, 30 + static_cast<uint32_t>(step)));
    // Nothing, and what is hardly more than nothing, have signs as well.
    for (int64_t i = 0; i < n; i += 5) g[i] = m[i] = 0;
    for (int64_t i = 1; i < n; i += 5) g[i] = m[i] = i % 2 == 0 ? 1e-44f : -1e-44f;
    const std::vector<float> p0(p.data(), p.data() + n), m0(m.data(), m.data() + n);
    lion(p.data(), g.data(), m.data(), n, o, isa);
    for (int64_t i = 0; i < n; ++i) {
      const double old = m0[static_cast<size_t>(i)], start = p0[static_cast<size_t>(i)];
      const double c = o.beta1 * old + (1 - o.beta1) * g[i], terms = o.beta1 * std::abs(old) + 0.1 * std::abs(g[i]);
      const double m_terms = o.beta2 * std::abs(old) + (1 - o.beta2) * std::abs(g[i]);
      const double denormal = 2 * std::numeric_limits<float>::denorm_min();
      test::expect_near(m[i], o.beta2 * old + (1 - o.beta2) * g[i], 4 * kUnit * m_terms + denormal, "momentum");
      const double bound = 4 * kUnit * (std::abs(start) + o.learning_rate);
      // Where the two terms cancel, rounding decides the sign.
      if (c != 0 && std::abs(c) <= 4 * kUnit * terms + denormal) continue;
      const double sign = c > 0 ? 1 : (c < 0 ? -1 : 0);
      const double expected = start * (1 - o.learning_rate * weight_decay) - o.learning_rate * sign;
      test::expect_near(p[i], expected, bound, "parameter");
    }
  }
}

void check_norm(Isa isa, int64_t n) {
  const Guarded<float> x(test::random_floats(n, 5));
  long double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<long double>(x[i]) * x[i];
  const double expected = static_cast<double>(sum);
  const double bound = static_cast<double>(n + 2) * std::numeric_limits<double>::epsilon() * expected;
  test::expect_near(squared_norm(x.data(), n, isa), expected, bound, "norm of " + std::to_string(n));
}

#define PL_KERNEL(isa, adamw, sgd, lion, squared_norm)                                       \
  TEST(Optim, adamw) {                                                                       \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (int64_t n : {0, 1, 7, 8, 9, 16, 1003}) {                                            \
      for (double weight_decay : {0.0, 0.1}) {                                               \
        check_adamw(Isa::isa, n, weight_decay);                                              \
        check_sgd(Isa::isa, n, 0.0, weight_decay);                                           \
        check_sgd(Isa::isa, n, 0.9, weight_decay);                                           \
        check_lion(Isa::isa, n, weight_decay);                                               \
      }                                                                                      \
      check_norm(Isa::isa, n);                                                               \
    }                                                                                        \
    check_norm(Isa::isa, 40000);                                                             \
  }
#include "kernels/optim/kernels.inc"
#undef PL_KERNEL

// Three steps of torch.optim (2.13.0) on p = (1, -2, 0.5) with gradients (0.1, -0.2, 3), (0, 1, -3), (0.5, 0.25, 1e-4).
constexpr float kStart[] = {1.0f, -2.0f, 0.5f};
constexpr float kGrads[3][3] = {{0.1f, -0.2f, 3.0f}, {0.0f, 1.0f, -3.0f}, {0.5f, 0.25f, 1e-4f}};
constexpr float kAdamW[] = {0.973050058f, -1.99601758f, 0.489453971f};
constexpr float kSgd[] = {0.986688614f, -2.00486732f, 0.47298038f};

TEST(Optim, AdamWIsPyTorchs) {
  for (Isa isa : supported_isas()) {
    std::vector<float> p(kStart, kStart + 3), m(3), v(3);
    for (int64_t step = 1; step <= 3; ++step) {
      adamw(p.data(), kGrads[step - 1], m.data(), v.data(), 3, {0.01, 0.9, 0.999, 1e-8, 0.1, step}, isa);
    }
    // Both round in every one of three steps; their difference is at most twice about four units of the parameter.
    for (size_t i = 0; i < 3; ++i) test::expect_near(p[i], kAdamW[i], 24 * kUnit * std::abs(kAdamW[i]), isa_name(isa));
  }
}

TEST(Optim, SgdIsPyTorchs) {
  for (Isa isa : supported_isas()) {
    std::vector<float> p(kStart, kStart + 3), buffer(3);
    for (const auto& grads : kGrads) sgd(p.data(), grads, buffer.data(), 3, {0.01, 0.9, 0.1}, isa);
    for (size_t i = 0; i < 3; ++i) test::expect_near(p[i], kSgd[i], 24 * kUnit * std::abs(kSgd[i]), isa_name(isa));
  }
}

TEST(Optim, DoesNotDependOnTheThreads) {
  const int64_t n = 100003;
  const auto grads = test::random_floats(n, 6), start = test::random_floats(n, 7);
  for (Isa isa : supported_isas()) {
    const auto step = [&] {
      std::vector<float> p = start, m(p.size()), v(p.size());
      adamw(p.data(), grads.data(), m.data(), v.data(), n, {0.1, 0.9, 0.999, 1e-8, 0.1, 1}, isa);
      sgd(p.data(), grads.data(), m.data(), n, {0.1, 0.9, 0.1}, isa);
      lion(p.data(), grads.data(), v.data(), n, {0.1, 0.9, 0.99, 0.1}, isa);
      return std::make_pair(p, squared_norm(p.data(), n, isa));
    };
    const auto one = step();
    const test::ScatteredThreads threads;
    EXPECT_EQ(one, step()) << isa_name(isa);
  }
}

TEST(Optim, TheNormOfSomethingThatIsNotANumberIsNotANumber) {
  auto x = test::random_floats(100, 8);
  x[97] = NAN;
  for (Isa isa : supported_isas()) EXPECT_TRUE(std::isnan(squared_norm(x.data(), 100, isa))) << isa_name(isa);
}

}  // namespace
}  // namespace pocketlora
