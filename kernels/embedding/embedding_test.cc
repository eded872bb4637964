#include "kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include "kernels/q4/test_matrix.h"

namespace pocketlora {
namespace {

using test::Guarded;

/// Every row of every shape, bit by bit: dequantization has one rounding and no freedom.
void check(EmbeddingKernel kernel) {
  for (const test::Q4Shape& shape : test::test_shapes()) {
    const test::TestMatrix w(shape, 5);
    std::vector<int64_t> order;
    for (int64_t n = 0; n < shape.rows; ++n) order.push_back((n * 7 + 3) % shape.rows);
    const Guarded<int64_t> tokens(order);
    Guarded<float> out(tokens.size() * shape.cols);
    kernel(tokens.data(), tokens.size(), w.matrix(), out.data());
    for (int64_t i = 0; i < tokens.size(); ++i) {
      for (int64_t k = 0; k < shape.cols; ++k) {
        ASSERT_EQ(out[i * shape.cols + k], w.value(tokens[i], k)) << test::describe(shape) << " at " << i << ", " << k;
      }
    }
  }
}

#define PL_KERNEL(isa, function)                                                             \
  TEST(Embedding, function) {                                                                \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    check(function);                                                                         \
  }
#include "kernels/embedding/kernels.inc"
#undef PL_KERNEL

TEST(Embedding, NoTokens) {
  const test::TestMatrix w({16, 128, Quant::kNf4, 64}, 5);
  embedding(nullptr, 0, w.matrix(), nullptr);
}

TEST(Embedding, DispatchGivesTheSameOnEveryInstructionSet) {
  const test::TestMatrix w({40, 130, Quant::kInt4, 32}, 6);
  const int64_t token = 37;
  for (Isa isa : supported_isas()) {
    Guarded<float> out(130);
    embedding(&token, 1, w.matrix(), out.data(), isa);
    for (int64_t k = 0; k < 130; ++k) ASSERT_EQ(out[k], w.value(token, k)) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pocketlora
