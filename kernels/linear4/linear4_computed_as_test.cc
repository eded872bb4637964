// What is said of how a machine computes (q4/compute.h) against what its kernels do.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/linear4/linear4.h"
#include "kernels/q4/compute.h"
#include "kernels/q4/test_matrix.h"

namespace pocketlora {
namespace {

constexpr Compute kComputes[] = {Compute::kFloat32, Compute::kInt16, Compute::kInt8, Compute::kBf16};

/// y = x * W^T, or dx = dy * W, of `n_rows` rows.
struct Product {
  bool backward;
  int64_t n_rows;

  std::vector<float> run(const test::TestMatrix& w, Compute compute, Isa isa) const {
    const int64_t from = backward ? w.matrix().rows : w.matrix().cols;
    const int64_t to = backward ? w.matrix().cols : w.matrix().rows;
    const std::vector<float> x = test::random_floats(n_rows * from, 3);
    std::vector<float> y(static_cast<size_t>(n_rows * to));
    const ComputeScope scope(compute);
    if (backward) {
      linear4_backward(x.data(), n_rows, w.matrix(), y.data(), isa);
    } else {
      linear4(x.data(), n_rows, w.matrix(), nullptr, y.data(), isa);
    }
    return y;
  }
};

std::string at(const Product& product, Compute compute, Isa isa) {
  return std::string(isa_name(isa)) + ", " + compute_name(compute) + ", " + std::to_string(product.n_rows) + " rows, " +
         (product.backward ? "backward" : "forward");
}

TEST(ComputedAs, IsWhatTheKernelsDo) {
  const test::TestMatrix w({130, 192, Quant::kNf4, 64}, 5);
  for (const Product product : {Product{false, 1}, Product{false, kFewRows}, Product{false, kFewRows + 1},
                                Product{false, 40}, Product{true, kFewRows + 1}, Product{true, 40}}) {
    for (const Isa isa : supported_isas()) {
      for (const Compute asked : kComputes) {
        const Compute told = computed_as(asked, product.n_rows, isa);
        EXPECT_EQ(computed_as(told, product.n_rows, isa), told) << at(product, asked, isa);
        const std::vector<float> found = product.run(w, asked, isa);
        // Every pair of them differs in some of its thousands of results, so the bits say which one it is.
        for (const Compute other : kComputes) {
          if (computed_as(other, product.n_rows, isa) != other) continue;
          EXPECT_EQ(product.run(w, other, isa) == found, other == told)
              << at(product, asked, isa) << " is " << compute_name(told) << ", compared with " << compute_name(other);
        }
      }
    }
  }
}

TEST(ComputedAs, TakesTheActiveInstructionSet) {
  for (const Compute asked : kComputes) EXPECT_EQ(computed_as(asked, 40), computed_as(asked, 40, active_isa()));
}

}  // namespace
}  // namespace pocketlora
