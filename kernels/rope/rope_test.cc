#include "kernels/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::Guarded;

std::vector<float> table_of(int64_t n_rows, int64_t rotary_dim) {
  std::vector<int64_t> positions(static_cast<size_t>(n_rows));
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int64_t>(i * 37);
  std::vector<float> inv_freq(static_cast<size_t>(rotary_dim / 2)), table(static_cast<size_t>(n_rows * rotary_dim));
  for (size_t j = 0; j < inv_freq.size(); ++j) {
    inv_freq[j] = std::pow(10000.0f, -static_cast<float>(j) / static_cast<float>(inv_freq.size()));
  }
  rope_table(positions.data(), inv_freq.data(), 1.0f, n_rows, rotary_dim / 2, table.data());
  return table;
}

/** The rotation by complex numbers: (x[j] + i·x[j+h]) · (cos ± i·sin). */
void check_head(const float* x, const float* table, int64_t rotary, int64_t head_dim, bool inverse, const float* y) {
  const int64_t half = rotary / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double c = table[j], s = inverse ? -table[half + j] : table[half + j], a = x[j], b = x[half + j];
    // Two products and one sum: three roundings.
    test::expect_near(y[j], a * c - b * s, test::sum_bound(2, std::abs(a * c) + std::abs(b * s), 1), "real");
    test::expect_near(y[half + j], a * s + b * c, test::sum_bound(2, std::abs(a * s) + std::abs(b * c), 1),
                      "imaginary");
  }
  for (int64_t j = rotary; j < head_dim; ++j) EXPECT_EQ(y[j], x[j]);
}

void check(RopeKernel kernel) {
  for (const auto& [head_dim, rotary] :
       {std::pair<int64_t, int64_t>{16, 16}, {64, 64}, {80, 20}, {18, 18}, {7, 6}, {128, 128}, {5, 0}}) {
    const int64_t n_rows = 5, heads = 3, width = heads * head_dim;
    const Guarded<float> x(test::random_floats(n_rows * width, 1)), table(table_of(n_rows, rotary));
    for (bool inverse : {false, true}) {
      Guarded<float> y(n_rows * width);
      kernel(x.data(), table.data(), {n_rows, heads, head_dim, rotary}, inverse, y.data());
      for (int64_t i = 0; i < n_rows; ++i) {
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t first = i * width + h * head_dim;
          check_head(x.data() + first, table.data() + i * rotary, rotary, head_dim, inverse, y.data() + first);
        }
      }
    }
  }
}

#define PL_KERNEL(isa, function)                                                             \
  TEST(Rope, function) {                                                                     \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check(function);                                                                         \
  }
#include "kernels/rope/kernels.inc"
#undef PL_KERNEL

TEST(RopeTable, IsTheCosineAndSineOfOneRoundedProduct) {
  const std::vector<int64_t> positions = {0, 1, 511, 131071};
  const std::vector<float> inv_freq = {1.0f, 0.31f, 1e-4f};
  const float scaling = 1.25f;
  Guarded<float> table(24);
  rope_table(positions.data(), inv_freq.data(), scaling, 4, 3, table.data());
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      const float angle = static_cast<float>(positions[static_cast<size_t>(i)]) * inv_freq[static_cast<size_t>(j)];
      // The function is within 1 ulp (of at most 1) and its product with the scaling is rounded.
      const double bound = 3 * static_cast<double>(scaling) * std::numeric_limits<float>::epsilon() / 2;
      test::expect_near(table[i * 6 + j], scaling * std::cos(static_cast<double>(angle)), bound, "cos");
      test::expect_near(table[i * 6 + 3 + j], scaling * std::sin(static_cast<double>(angle)), bound, "sin");
    }
  }
}

TEST(Rope, TheInverseIsTheTranspose) {
  // <g, rope(x)> = <inverse(g), x>: what makes the inverse the gradient.
  const RopeShape shape{6, 2, 24, 16};
  const auto table = table_of(shape.n_rows, shape.rotary_dim);
  const auto x = test::random_floats(288, 2), g = test::random_floats(288, 3);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), dx(x.size());
    rope(x.data(), table.data(), shape, false, y.data(), isa);
    rope(g.data(), table.data(), shape, true, dx.data(), isa);
    double left = 0, right = 0, magnitude = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      left += static_cast<double>(g[i]) * y[i];
      right += static_cast<double>(dx[i]) * x[i];
      magnitude += std::abs(static_cast<double>(g[i])) * std::abs(y[i]) + std::abs(static_cast<double>(dx[i]) * x[i]);
    }
    test::expect_near(left, right, test::sum_bound(3, 2 * magnitude), isa_name(isa));
  }
}

TEST(Rope, DoesNotDependOnTheThreadsAndWorksInPlace) {
  const RopeShape shape{45, 3, 20, 20};
  const auto table = table_of(shape.n_rows, shape.rotary_dim), x = test::random_floats(45 * 60, 4);
  for (Isa isa : supported_isas()) {
    std::vector<float> y(x.size()), in_place = x;
    rope(x.data(), table.data(), shape, false, y.data(), isa);
    const test::ScatteredThreads threads;
    rope(in_place.data(), table.data(), shape, false, in_place.data(), isa);
    EXPECT_EQ(y, in_place) << isa_name(isa);
    rope(nullptr, nullptr, {0, 3, 20, 20}, false, nullptr, isa);
  }
}

}  // namespace
}  // namespace pocketlora
