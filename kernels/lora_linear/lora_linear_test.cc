#include "kernels/lora_linear/lora_linear.h"

#include <gtest/gtest.h>

#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/test_matrix.h"

namespace pocketlora {
namespace {

using test::Guarded;
using test::Q4Shape;
using test::TestMatrix;

/// One case, its inputs between guard pages.
struct Case {
  Case(const Q4Shape& the_shape, int64_t rows, int64_t the_rank, bool with_bias, float p)
      : shape(the_shape),
        n_rows(rows),
        rank(the_rank),
        w(shape, 21),
        values(w.values()),
        x(test::random_floats(rows * shape.cols, 22)),
        dy(test::random_floats(rows * shape.rows, 23)),
        bias(test::random_floats(shape.rows, 24)),
        a(test::random_floats(rank * shape.cols, 25, 0.3f)),
        b(test::random_floats(shape.rows * rank, 26, 0.3f)),
        scale(test::random_floats(rank, 27)),
        has_bias(with_bias),
        dropout{p, 0x123456789ull, 3} {
    for (int64_t i = 0; i < n_rows; ++i) {
      for (int64_t k = 0; k < shape.cols; ++k) dropped.push_back(kept(i, k) * x[i * shape.cols + k]);
    }
  }

  LoraSite site() const { return {a.data(), b.data(), scale.data(), rank}; }
  const Dropout* mask() const { return dropout.p > 0 ? &dropout : nullptr; }
  /// drop(x)[i, k] / x[i, k].
  double kept(int64_t i, int64_t k) const {
    return dropout.p > 0 ? dropout_factor(dropout_key(dropout), dropout.p, i, k) : 1.0;
  }
  std::string name() const {
    return test::describe(shape) + ", " + std::to_string(n_rows) + " rows, rank " + std::to_string(rank) + ", p " +
           std::to_string(dropout.p);
  }

  Q4Shape shape;
  int64_t n_rows, rank;
  TestMatrix w;
  std::vector<float> values;
  Guarded<float> x, dy, bias, a, b, scale;
  bool has_bias;
  Dropout dropout;
  std::vector<double> dropped;  ///< drop(x), row by row
};

/// A sum in double with the sum of the absolute values, from which the bound follows.
struct Sum {
  double value = 0.0, magnitude = 0.0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
  void add(const Sum& factor, double other) {
    value += factor.value * other;
    magnitude += factor.magnitude * std::abs(other);
  }
};

/// x · Wᵀ and dy · W of a matrix for the most rows that are tested: those of fewer rows are the first, and neither rank
/// nor dropout of the adapter changes them.
struct BaseProducts {
  explicit BaseProducts(const Case& c)
      : y(static_cast<size_t>(c.n_rows * c.shape.rows)), dx(static_cast<size_t>(c.n_rows * c.shape.cols)) {
    for (int64_t i = 0; i < c.n_rows; ++i) {
      for (int64_t n = 0; n < c.shape.rows; ++n) {
        for (int64_t k = 0; k < c.shape.cols; ++k) {
          const double w = c.values[static_cast<size_t>(n * c.shape.cols + k)];
          y[static_cast<size_t>(i * c.shape.rows + n)].add(w * c.x[i * c.shape.cols + k]);
          dx[static_cast<size_t>(i * c.shape.cols + k)].add(w * c.dy[i * c.shape.rows + n]);
        }
      }
    }
  }
  std::vector<Sum> y, dx;
};

/// t[i, r] = scale[r] * sum_k drop(x)[i, k] a[r, k]  and  s[i, r] = scale[r] * sum_n dy[i, n] b[n, r].
std::vector<Sum> down(const Case& c) {
  std::vector<Sum> t(static_cast<size_t>(c.n_rows * c.rank));
  for (int64_t i = 0; i < c.n_rows; ++i) {
    for (int64_t r = 0; r < c.rank; ++r) {
      Sum& sum = t[static_cast<size_t>(i * c.rank + r)];
      for (int64_t k = 0; k < c.shape.cols; ++k) {
        sum.add(c.dropped[static_cast<size_t>(i * c.shape.cols + k)] * c.a[r * c.shape.cols + k] * c.scale[r]);
      }
    }
  }
  return t;
}

std::vector<Sum> up_transposed(const Case& c) {
  std::vector<Sum> s(static_cast<size_t>(c.n_rows * c.rank));
  for (int64_t i = 0; i < c.n_rows; ++i) {
    for (int64_t r = 0; r < c.rank; ++r) {
      Sum& sum = s[static_cast<size_t>(i * c.rank + r)];
      for (int64_t n = 0; n < c.shape.rows; ++n) {
        sum.add(static_cast<double>(c.dy[i * c.shape.rows + n]) * c.b[n * c.rank + r] * c.scale[r]);
      }
    }
  }
  return s;
}

/// `length` = the number of terms on the longest way from an input to this result.
void expect_sum(float actual, const Sum& sum, int64_t length, const char* what, const Case& c) {
  test::expect_near(actual, sum.value, test::sum_bound(length, sum.magnitude, 16),
                    [&] { return std::string(what) + " of " + c.name(); });
}

void check_forward(const LoraLinearKernel& kernel, const Case& c, const BaseProducts& base) {
  Guarded<float> y(c.n_rows * c.shape.rows);
  kernel.forward(c.x.data(), c.n_rows, c.w.matrix(), c.has_bias ? c.bias.data() : nullptr, c.site(), c.mask(),
                 y.data());
  const std::vector<Sum> t = down(c);
  for (int64_t i = 0; i < c.n_rows; ++i) {
    for (int64_t n = 0; n < c.shape.rows; ++n) {
      Sum sum = base.y[static_cast<size_t>(i * c.shape.rows + n)];
      if (c.has_bias) sum.add(c.bias[n]);
      for (int64_t r = 0; r < c.rank; ++r) sum.add(t[static_cast<size_t>(i * c.rank + r)], c.b[n * c.rank + r]);
      expect_sum(y[i * c.shape.rows + n], sum, c.shape.cols + c.rank, "y", c);
    }
  }
}

void check_gradients(const Case& c, const std::vector<Sum>& s, const std::vector<Sum>& t, const Guarded<float>& da,
                     const Guarded<float>& db) {
  for (int64_t r = 0; r < c.rank; ++r) {
    for (int64_t k = 0; k < c.shape.cols; ++k) {
      Sum sum;
      for (int64_t i = 0; i < c.n_rows; ++i) {
        sum.add(s[static_cast<size_t>(i * c.rank + r)], c.dropped[static_cast<size_t>(i * c.shape.cols + k)]);
      }
      expect_sum(da[r * c.shape.cols + k], sum, c.shape.rows + c.n_rows, "da", c);
    }
    for (int64_t n = 0; n < c.shape.rows; ++n) {
      Sum sum;
      for (int64_t i = 0; i < c.n_rows; ++i) {
        sum.add(t[static_cast<size_t>(i * c.rank + r)], c.dy[i * c.shape.rows + n]);
      }
      expect_sum(db[n * c.rank + r], sum, c.shape.cols + c.n_rows, "db", c);
    }
  }
}

void check_backward(const LoraLinearKernel& kernel, const Case& c, const BaseProducts& base) {
  Guarded<float> dx(c.n_rows * c.shape.cols), da(c.rank * c.shape.cols), db(c.shape.rows * c.rank);
  kernel.backward(c.dy.data(), c.x.data(), c.n_rows, c.w.matrix(), c.site(), c.mask(), dx.data(), da.data(), db.data());
  const std::vector<Sum> s = up_transposed(c);
  for (int64_t i = 0; i < c.n_rows; ++i) {
    for (int64_t k = 0; k < c.shape.cols; ++k) {
      Sum sum = base.dx[static_cast<size_t>(i * c.shape.cols + k)];
      for (int64_t r = 0; r < c.rank; ++r) {
        sum.add(s[static_cast<size_t>(i * c.rank + r)], c.kept(i, k) * c.a[r * c.shape.cols + k]);
      }
      expect_sum(dx[i * c.shape.cols + k], sum, c.shape.rows + c.rank, "dx", c);
    }
  }
  check_gradients(c, s, down(c), da, db);
}

void check_case(const LoraLinearKernel& kernel, const Case& c, const BaseProducts& base) {
  check_forward(kernel, c, base);
  check_backward(kernel, c, base);
}

void check_case(const LoraLinearKernel& kernel, const Case& c) { check_case(kernel, c, BaseProducts(c)); }

void check(const LoraLinearKernel& kernel) {
  const Q4Shape shapes[] = {{16, 128, Quant::kNf4, 64},  {17, 129, Quant::kNf4, 64}, {50, 65, Quant::kNf4, 64},
                            {33, 200, Quant::kInt4, 32}, {1, 1, Quant::kInt4, 32},   {65, 320, Quant::kInt4, 64},
                            {31, 384, Quant::kInt4, 128}};
  for (const Q4Shape& shape : shapes) {
    const BaseProducts base(Case(shape, 33, 0, false, 0.0f));
    for (int64_t n_rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33}) {
      for (int64_t rank : {0, 1, 7, 16}) {
        check_case(kernel, Case(shape, n_rows, rank, rank % 2 == 1, n_rows % 2 == 0 ? 0.25f : 0.0f), base);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  // More rows than one block of activations; a rank beyond two panels; both with dropout.
  check_case(kernel, Case({20, 70, Quant::kNf4, 64}, 270, 5, true, 0.5f));
  check_case(kernel, Case({40, 140, Quant::kInt4, 32}, 20, 40, false, 0.1f));
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(LoraLinear, forward) {                                                                \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check({forward, backward});                                                              \
  }
#include "kernels/lora_linear/kernels.inc"
#undef PL_KERNEL

/// f(x, A, B) = <dy, y> in double, by the op's formula.
double objective(const Case& c, const std::vector<double>& x, const std::vector<double>& a,
                 const std::vector<double>& b) {
  double total = 0.0;
  const int64_t cols = c.shape.cols;
  for (int64_t i = 0; i < c.n_rows; ++i) {
    std::vector<double> t(static_cast<size_t>(c.rank), 0.0);
    for (int64_t r = 0; r < c.rank; ++r) {
      for (int64_t k = 0; k < cols; ++k) {
        t[static_cast<size_t>(r)] +=
            c.scale[r] * c.kept(i, k) * x[static_cast<size_t>(i * cols + k)] * a[static_cast<size_t>(r * cols + k)];
      }
    }
    for (int64_t n = 0; n < c.shape.rows; ++n) {
      double y = 0.0;
      for (int64_t k = 0; k < cols; ++k) {
        y += x[static_cast<size_t>(i * cols + k)] * c.values[static_cast<size_t>(n * cols + k)];
      }
      for (int64_t r = 0; r < c.rank; ++r) y += t[static_cast<size_t>(r)] * b[static_cast<size_t>(n * c.rank + r)];
      total += c.dy[i * c.shape.rows + n] * y;
    }
  }
  return total;
}

std::vector<double> shifted(const Guarded<float>& base, const std::vector<float>& direction, double step) {
  std::vector<double> result;
  for (int64_t i = 0; i < base.size(); ++i) result.push_back(base[i] + step * direction[static_cast<size_t>(i)]);
  return result;
}

double inner(const Guarded<float>& gradient, const std::vector<float>& direction) {
  double sum = 0.0;
  for (int64_t i = 0; i < gradient.size(); ++i) {
    sum += static_cast<double>(gradient[i]) * direction[static_cast<size_t>(i)];
  }
  return sum;
}

TEST(LoraLinear, GradientsMatchFiniteDifferences) {
  for (float p : {0.0f, 0.3f}) {
    const Case c({19, 70, Quant::kNf4, 64}, 6, 3, false, p);
    const std::vector<float> vx = test::random_floats(c.x.size(), 31), va = test::random_floats(c.a.size(), 32),
                             vb = test::random_floats(c.b.size(), 33);
    // The objective is cubic along a line: a central difference of step h errs by h^2 times a third derivative.
    const double h = 1e-4;
    const double difference = (objective(c, shifted(c.x, vx, h), shifted(c.a, va, h), shifted(c.b, vb, h)) -
                               objective(c, shifted(c.x, vx, -h), shifted(c.a, va, -h), shifted(c.b, vb, -h))) /
                              (2 * h);
    for (Isa isa : supported_isas()) {
      Guarded<float> dx(c.x.size()), da(c.a.size()), db(c.b.size());
      lora_linear_backward(c.dy.data(), c.x.data(), c.n_rows, c.w.matrix(), c.site(), c.mask(), dx.data(), da.data(),
                           db.data(), isa);
      const double analytic = inner(dx, vx) + inner(da, va) + inner(db, vb);
      // The analytic side is made of fp32 sums of at most cols + rows terms.
      double magnitude = 0.0;
      for (int64_t i = 0; i < dx.size(); ++i) magnitude += std::abs(dx[i] * vx[static_cast<size_t>(i)]);
      for (int64_t i = 0; i < da.size(); ++i) magnitude += std::abs(da[i] * va[static_cast<size_t>(i)]);
      for (int64_t i = 0; i < db.size(); ++i) magnitude += std::abs(db[i] * vb[static_cast<size_t>(i)]);
      test::expect_near(analytic, difference, test::sum_bound(c.shape.rows + c.shape.cols, magnitude), isa_name(isa));
    }
  }
}

TEST(LoraLinear, DropoutKeepsItsShareAndItsMean) {
  // 1e5 draws: the share of kept elements has a standard deviation of sqrt(p (1 - p) / 1e5); 5 of them.
  const Dropout dropout{0.2f, 42, 7};
  const uint32_t key = dropout_key(dropout);
  int64_t kept = 0;
  for (int64_t i = 0; i < 100; ++i) {
    for (int64_t k = 0; k < 1000; ++k) {
      const float factor = dropout_factor(key, dropout.p, i, k);
      ASSERT_TRUE(factor == 0.0f || factor == 1.0f / (1.0f - dropout.p));
      kept += factor != 0.0f;
    }
  }
  EXPECT_NEAR(static_cast<double>(kept) / 1e5, 0.8, 5 * std::sqrt(0.16 / 1e5));
}

TEST(LoraLinear, DropoutFollowsTheDocumentedHash) {
  // The formula of docs/stages.md, written out in 64-bit arithmetic.
  const auto mix = [](uint64_t v) {
    const uint64_t m = 0xFFFFFFFFu;
    v &= m;
    v ^= v >> 16;
    v = v * 0x7FEB352Du & m;
    v ^= v >> 15;
    v = v * 0x846CA68Bu & m;
    return v ^ v >> 16;
  };
  const Dropout dropout{0.5f, 0xDEADBEEF12345678ull, 11};
  for (uint64_t i : {0u, 1u, 77u}) {
    for (uint64_t j : {0u, 5u, 2047u}) {
      const uint64_t hash = mix(i * 0x9E3779B1u + mix(j + mix(11 + mix(dropout.seed & 0xFFFFFFFFu))));
      const double u = static_cast<double>(hash >> 8) / 16777216.0;
      const float factor =
          dropout_factor(dropout_key(dropout), dropout.p, static_cast<int64_t>(i), static_cast<int64_t>(j));
      EXPECT_EQ(factor, u >= 0.5 ? 2.0f : 0.0f);
    }
  }
}

TEST(LoraLinear, TheNumberOfThreadsDoesNotMatter) {
  for (int64_t n_rows : {1, 33}) {
    const Case c({330, 700, Quant::kNf4, 64}, n_rows, 7, true, 0.25f);
    const int64_t nx = c.x.size(), na = c.a.size(), nb = c.b.size();
    for (Isa isa : supported_isas()) {
      test::expect_same_on_threads(c.dy.size(), isa_name(isa), [&](float* y) {
        lora_linear(c.x.data(), n_rows, c.w.matrix(), c.bias.data(), c.site(), c.mask(), y, isa);
      });
      test::expect_same_on_threads(nx + na + nb, isa_name(isa), [&](float* out) {
        lora_linear_backward(c.dy.data(), c.x.data(), n_rows, c.w.matrix(), c.site(), c.mask(), out, out + nx,
                             out + nx + na, isa);
      });
    }
  }
}

/// What the integers change of a product of many rows is what they change of the bare one: the branch stays fp32.
void check_integers(Compute integers) {
  constexpr int64_t kRows = 33;
  const Case c({100, 330, Quant::kNf4, 64}, kRows, 7, true, 0.25f);
  const BaseProducts base(c);
  for (Isa isa : supported_isas()) {
    const auto run = [&](Compute compute, float* y, float* bare_y, float* gradients, float* bare_dx) {
      const ComputeScope scope(compute);
      lora_linear(c.x.data(), kRows, c.w.matrix(), c.bias.data(), c.site(), c.mask(), y, isa);
      linear4(c.x.data(), kRows, c.w.matrix(), c.bias.data(), bare_y, isa);
      lora_linear_backward(c.dy.data(), c.x.data(), kRows, c.w.matrix(), c.site(), c.mask(), gradients,
                           gradients + c.x.size(), gradients + c.x.size() + c.a.size(), isa);
      linear4_backward(c.dy.data(), kRows, c.w.matrix(), bare_dx, isa);
    };
    const int64_t ny = c.dy.size(), nx = c.x.size(), all = nx + c.a.size() + c.b.size();
    Guarded<float> y(ny), bare_y(ny), gradients(all), bare_dx(nx);
    Guarded<float> fixed_y(ny), fixed_bare_y(ny), fixed_gradients(all), fixed_bare_dx(nx);
    run(Compute::kFloat32, y.data(), bare_y.data(), gradients.data(), bare_dx.data());
    run(integers, fixed_y.data(), fixed_bare_y.data(), fixed_gradients.data(), fixed_bare_dx.data());
    const std::vector<Sum> t = down(c), s = up_transposed(c);
    // Adding the branch rounds sums of the size of `magnitude`, once for each rank and the bias.
    for (int64_t o = 0; o < ny; ++o) {
      double magnitude = base.y[static_cast<size_t>(o)].magnitude + std::abs(c.bias[o % c.shape.rows]);
      for (int64_t r = 0; r < c.rank; ++r) {
        magnitude +=
            std::abs(t[static_cast<size_t>(o / c.shape.rows * c.rank + r)].value * c.b[o % c.shape.rows * c.rank + r]);
      }
      test::expect_near(fixed_y[o] - y[o], fixed_bare_y[o] - bare_y[o], 4 * test::sum_bound(c.rank, magnitude),
                        isa_name(isa));
    }
    for (int64_t o = 0; o < nx; ++o) {
      double magnitude = base.dx[static_cast<size_t>(o)].magnitude;
      for (int64_t r = 0; r < c.rank; ++r) {
        magnitude += 2 * std::abs(s[static_cast<size_t>(o / c.shape.cols * c.rank + r)].value *
                                  c.a[r * c.shape.cols + o % c.shape.cols]);
      }
      test::expect_near(fixed_gradients[o] - gradients[o], fixed_bare_dx[o] - bare_dx[o],
                        4 * test::sum_bound(c.rank, magnitude), isa_name(isa));
    }
    for (int64_t o = nx; o < all; ++o) ASSERT_EQ(fixed_gradients[o], gradients[o]) << isa_name(isa);
  }
}

TEST(LoraLinear, Int16ChangesTheBareProductOnly) { check_integers(Compute::kInt16); }
TEST(LoraLinear, Int8ChangesTheBareProductOnly) { check_integers(Compute::kInt8); }
TEST(LoraLinear, Bf16ChangesTheBareProductOnly) { check_integers(Compute::kBf16); }

TEST(LoraLinear, RankZeroEqualsTheBareProduct) {
  const Case c({40, 130, Quant::kNf4, 64}, 8, 0, true, 0.0f);
  const LoraSite none{nullptr, nullptr, nullptr, 0};
  for (Isa isa : supported_isas()) {
    Guarded<float> y(8 * 40), dx(8 * 130), bare_y(8 * 40), bare_dx(8 * 130);
    lora_linear(c.x.data(), 8, c.w.matrix(), c.bias.data(), none, nullptr, y.data(), isa);
    lora_linear_backward(c.dy.data(), c.x.data(), 8, c.w.matrix(), none, nullptr, dx.data(), nullptr, nullptr, isa);
    linear4(c.x.data(), 8, c.w.matrix(), c.bias.data(), bare_y.data(), isa);
    linear4_backward(c.dy.data(), 8, c.w.matrix(), bare_dx.data(), isa);
    for (int64_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], bare_y[i]) << isa_name(isa);
    for (int64_t i = 0; i < dx.size(); ++i) ASSERT_EQ(dx[i], bare_dx[i]) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
