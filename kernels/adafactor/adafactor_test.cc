#include "kernels/adafactor/adafactor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

/** The formula in double, from a given fp32 state. */
struct Wide {
  std::vector<double> params, row, col, update;

  Wide(const float* p, const float* g, const float* row0, const float* col0, size_t rows, size_t cols,
       const AdafactorOptions& o)
      : params(p, p + rows * cols), row(row0, row0 + rows), col(col0, col0 + cols), update(rows * cols) {
    const double beta = 1 - std::pow(static_cast<double>(o.step), o.decay_rate);
    std::vector<double> row_mean(rows), col_mean(cols);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < cols; ++j) {
        const double square = static_cast<double>(g[i * cols + j]) * g[i * cols + j] + o.epsilon;
        row_mean[i] += square / static_cast<double>(cols);
        col_mean[j] += square / static_cast<double>(rows);
      }
    }
    for (size_t i = 0; i < rows; ++i) row[i] = beta * row[i] + (1 - beta) * row_mean[i];
    for (size_t j = 0; j < cols; ++j) col[j] = beta * col[j] + (1 - beta) * col_mean[j];
    double mean = 0, squares = 0;
    for (double value : row) mean += value / static_cast<double>(rows);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < cols; ++j) {
        update[i * cols + j] = g[i * cols + j] / std::sqrt(row[i] / mean) / std::sqrt(col[j]);
        squares += update[i * cols + j] * update[i * cols + j];
      }
    }
    const double clip = std::max(1.0, std::sqrt(squares / static_cast<double>(rows * cols)) / o.clip_threshold);
    for (size_t i = 0; i < params.size(); ++i) {
      update[i] *= o.learning_rate / clip;
      params[i] = params[i] * (1 - o.learning_rate * o.weight_decay) - update[i];
    }
  }
};

void check(Isa isa, int64_t rows, int64_t cols, double weight_decay, float deviation) {
  const int64_t n = rows * cols;
  Guarded<float> p(test::random_floats(n, 1)), row(rows), col(cols);
  std::fill_n(row.data(), rows, 0.0f);
  std::fill_n(col.data(), cols, 0.0f);
  for (int64_t t = 1; t <= 4; ++t) {
    const AdafactorOptions o{0.05, weight_decay, t};
    const Guarded<float> g(test::random_floats(n, 10 + static_cast<uint32_t>(t), deviation));
    const Wide expected(p.data(), g.data(), row.data(), col.data(), static_cast<size_t>(rows),
                        static_cast<size_t>(cols), o);
    adafactor(p.data(), g.data(), row.data(), col.data(), rows, cols, o, isa);
    // Sums of positive terms: relative errors of so many roundings, of which the roots keep half.
    const double state_error = test::sum_bound(std::min<int64_t>(rows, 128), 1.0, 8);
    for (int64_t i = 0; i < rows; ++i) {
      test::expect_near(row[i], expected.row[static_cast<size_t>(i)],
                        state_error * expected.row[static_cast<size_t>(i)], "row state");
    }
    for (int64_t j = 0; j < cols; ++j) {
      test::expect_near(col[j], expected.col[static_cast<size_t>(j)],
                        state_error * expected.col[static_cast<size_t>(j)], "column state");
    }
    for (int64_t i = 0; i < n; ++i) {
      const size_t at = static_cast<size_t>(i);
      const double update = std::abs(expected.update[at]);
      // Three roots and the clipping follow the state; eight roundings more, and three of the parameter.
      const double bound = update * (2 * state_error + test::sum_bound(8, 1.0, 0)) +
                           test::sum_bound(3, std::abs(expected.params[at]) + update, 0);
      test::expect_near(p[i], expected.params[at], bound, "parameter");
    }
  }
}

#define PL_KERNEL(isa, squares, norm, apply)                                                 \
  TEST(Adafactor, squares) {                                                                 \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (int64_t rows : {1, 3, 130, 300}) {                                                  \
      for (int64_t cols : {1, 8, 17}) {                                                      \
        check(Isa::isa, rows, cols, 0.0, 1.0f);                                              \
        check(Isa::isa, rows, cols, 0.1, 1e-4f);                                             \
      }                                                                                      \
    }                                                                                        \
  }
#include "kernels/adafactor/kernels.inc"
#undef PL_KERNEL

// The matrices A of a new adapter: their first gradient is 0 because B is.
TEST(Adafactor, NoGradientNoStep) {
  for (Isa isa : supported_isas()) {
    const auto start = test::random_floats(64, 2);
    std::vector<float> p = start, g(64), row(4), col(16);
    adafactor(p.data(), g.data(), row.data(), col.data(), 4, 16, {0.1, 0.0, 1}, isa);
    EXPECT_EQ(p, start) << isa_name(isa);
  }
}

TEST(Adafactor, DoesNotDependOnTheThreads) {
  const int64_t rows = 1000, cols = 24;
  const auto grads = test::random_floats(rows * cols, 6), start = test::random_floats(rows * cols, 7);
  for (Isa isa : supported_isas()) {
    const auto step = [&] {
      std::vector<float> p = start, row(rows), col(cols);
      for (int64_t t = 1; t <= 2; ++t) {
        adafactor(p.data(), grads.data(), row.data(), col.data(), rows, cols, {0.1, 0.1, t}, isa);
      }
      p.insert(p.end(), row.begin(), row.end());
      p.insert(p.end(), col.begin(), col.end());
      return p;
    };
    const auto one = step();
    const test::ScatteredThreads threads;
    EXPECT_EQ(one, step()) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
