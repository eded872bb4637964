#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/attention/reference.h"
#include "kernels/common/test_gradient.h"
#include "kernels/common/test_support.h"
#include "kernels/common/test_threads.h"

namespace pocketlora {
namespace {

using test::AttentionCase;
using test::AttentionReference;
using test::Bounded;
using test::Guarded;

/** Inputs and outputs of one call, between guard pages. */
struct Buffers {
  explicit Buffers(const AttentionCase& c)
      : q(c.q),
        k(c.k),
        v(c.v),
        dout(c.dout),
        out(c.q_size()),
        lse(c.n_rows() * c.num_heads),
        dq(c.q_size()),
        dk(c.kv_size()),
        dv(c.kv_size()) {}
  Guarded<float> q, k, v, dout, out, lse, dq, dk, dv;
};

void run_forward(const AttentionCase& c, Buffers& b, Isa isa) {
  attention(b.q.data(), b.k.data(), b.v.data(), c.segments.data(), c.num_segments(), c.shape(), b.out.data(),
            b.lse.data(), isa);
}

void run_backward(const AttentionCase& c, Buffers& b, Isa isa) {
  attention_backward(b.dout.data(), b.q.data(), b.k.data(), b.v.data(), b.out.data(), b.lse.data(), c.segments.data(),
                     c.num_segments(), c.shape(), b.dq.data(), b.dk.data(), b.dv.data(), isa);
}

void expect_all(const Guarded<float>& actual, const Bounded& expected, const std::string& what) {
  ASSERT_EQ(static_cast<size_t>(actual.size()), expected.value.size()) << what;
  for (int64_t i = 0; i < actual.size() && !::testing::Test::HasFailure(); ++i) {
    const size_t at = static_cast<size_t>(i);
    test::expect_near(actual[i], expected.value[at], expected.bound[at], what + " at " + std::to_string(i));
  }
}

void check(Isa isa, const AttentionCase& c) {
  const AttentionReference reference(c);
  Buffers b(c);
  run_forward(c, b, isa);
  expect_all(b.out, reference.out, c.name() + " out");
  expect_all(b.lse, reference.lse, c.name() + " lse");
  // The backward kernel is given exact values rounded to fp32, as the bounds assume.
  for (int64_t i = 0; i < b.out.size(); ++i) b.out[i] = static_cast<float>(reference.out.value[static_cast<size_t>(i)]);
  for (int64_t i = 0; i < b.lse.size(); ++i) b.lse[i] = static_cast<float>(reference.lse.value[static_cast<size_t>(i)]);
  run_backward(c, b, isa);
  expect_all(b.dq, reference.dq, c.name() + " dq");
  expect_all(b.dk, reference.dk, c.name() + " dk");
  expect_all(b.dv, reference.dv, c.name() + " dv");
}

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all;
  for (int64_t head_dim : {16, 20, 64, 80, 128}) all.emplace_back(4, 2, head_dim, std::vector<int64_t>{1, 2, 7});
  for (int64_t head_dim : {2, 6, 18, 33}) all.emplace_back(2, 2, head_dim, std::vector<int64_t>{5, 1, 3});
  all.emplace_back(4, 1, 32, std::vector<int64_t>{9, 0, 4});
  all.emplace_back(9, 3, 64, std::vector<int64_t>{33, 16});
  all.emplace_back(2, 1, 64, std::vector<int64_t>{101});
  all.emplace_back(1, 1, 16, std::vector<int64_t>{1});
  return all;
}

#define PL_KERNEL(isa, forward, backward)                                                    \
  TEST(Attention, forward) {                                                                 \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported"; \
    for (const AttentionCase& c : cases()) check(Isa::isa, c);                               \
  }
#include "kernels/attention/kernels.inc"
#undef PL_KERNEL

/** Compares one gradient with differences of Σ dout · out, taken in double over the inputs that `input` names. */
void check_differences(const AttentionCase& c, std::vector<double> test::WideInputs::* input, const Bounded& gradient) {
  test::WideInputs wide(c);
  double magnitude = 0;
  for (const float d : c.dout) magnitude += 4 * std::abs(static_cast<double>(d));
  for (size_t i = 0; i < gradient.value.size(); ++i) {
    const auto slope =
        test::central_difference([&] { return test::weighted_output(c, wide); }, wide.*input, i, magnitude);
    test::expect_near(gradient.value[i], slope.value, slope.error, c.name() + " at " + std::to_string(i));
  }
}

TEST(Attention, TheReferenceGradientsAreThoseOfFiniteDifferences) {
  // The kernels' gradients are within their bounds of these (the tests above).
  for (const AttentionCase& c : {AttentionCase(4, 2, 6, {1, 2, 5}), AttentionCase(3, 1, 4, {7})}) {
    const AttentionReference reference(c);
    check_differences(c, &test::WideInputs::q, reference.dq);
    check_differences(c, &test::WideInputs::k, reference.dk);
    check_differences(c, &test::WideInputs::v, reference.dv);
  }
}

TEST(Attention, DoesNotDependOnTheThreads) {
  const AttentionCase c(6, 2, 24, {40, 1, 35});
  for (Isa isa : supported_isas()) {
    Buffers one(c), many(c);
    run_forward(c, one, isa);
    run_backward(c, one, isa);
    const test::ScatteredThreads threads;
    run_forward(c, many, isa);
    run_backward(c, many, isa);
    for (auto buffer : {&Buffers::out, &Buffers::lse, &Buffers::dq, &Buffers::dk, &Buffers::dv}) {
      const size_t bytes = static_cast<size_t>((one.*buffer).size()) * sizeof(float);
      EXPECT_EQ(std::memcmp((one.*buffer).data(), (many.*buffer).data(), bytes), 0) << isa_name(isa);
    }
  }
}

TEST(Attention, LargeScoresStayFinite) {
  AttentionCase c(2, 1, 16, {6});
  for (float& q : c.q) q *= 1e4f;
  for (Isa isa : supported_isas()) {
    Buffers b(c);
    run_forward(c, b, isa);
    run_backward(c, b, isa);
    for (auto buffer : {&Buffers::out, &Buffers::lse, &Buffers::dq, &Buffers::dk, &Buffers::dv}) {
      for (int64_t i = 0; i < (b.*buffer).size(); ++i) EXPECT_TRUE(std::isfinite((b.*buffer)[i])) << isa_name(isa);
    }
  }
}

/** The rows [first, first + count) of a case's only segment, with the rows before them cached. */
std::vector<float> cached(const AttentionCase& c, int64_t first, int64_t count, Isa isa) {
  const int64_t kv = c.kv_stride(), width = c.q_stride();
  const Guarded<float> q(std::vector<float>(c.q.begin() + first * width, c.q.begin() + (first + count) * width));
  const Guarded<float> k(std::vector<float>(c.k.begin() + first * kv, c.k.begin() + (first + count) * kv));
  const Guarded<float> v(std::vector<float>(c.v.begin() + first * kv, c.v.begin() + (first + count) * kv));
  const Guarded<float> k_cache(std::vector<float>(c.k.begin(), c.k.begin() + first * kv));
  const Guarded<float> v_cache(std::vector<float>(c.v.begin(), c.v.begin() + first * kv));
  Guarded<float> out(count * width);
  AttentionShape shape = c.shape();
  shape.n_rows = count;
  attention_cached(q.data(), k.data(), v.data(), k_cache.data(), v_cache.data(), first, shape, out.data(), isa);
  return std::vector<float>(out.data(), out.data() + out.size());
}

TEST(AttentionCached, ARowHasTheSameBitsHoweverItsBlockWasCut) {
  for (int64_t head_dim : {64, 18}) {
    const AttentionCase c(4, 2, head_dim, {43});
    for (Isa isa : supported_isas()) {
      Buffers b(c);
      run_forward(c, b, isa);
      const std::vector<float> whole(b.out.data(), b.out.data() + b.out.size());
      for (int64_t chunk : {1, 2, 5, 34, 43}) {
        std::vector<float> pieces;
        for (int64_t first = 0; first < 43; first += chunk) {
          const std::vector<float> piece = cached(c, first, std::min<int64_t>(chunk, 43 - first), isa);
          pieces.insert(pieces.end(), piece.begin(), piece.end());
        }
        EXPECT_EQ(pieces, whole) << isa_name(isa) << ", chunks of " << chunk;
      }
    }
  }
}

TEST(AttentionCached, RowsBeyondThePastAreNotRead) {
  const AttentionCase c(2, 1, 8, {5});
  const std::vector<float> poison(static_cast<size_t>(8 * 8), NAN);
  for (Isa isa : supported_isas()) {
    std::vector<float> out(c.q.size());
    attention_cached(c.q.data(), c.k.data(), c.v.data(), poison.data(), poison.data(), 0, c.shape(), out.data(), isa);
    for (const float value : out) EXPECT_TRUE(std::isfinite(value)) << isa_name(isa);
  }
}

TEST(Attention, NoRows) {
  const int64_t segments[] = {0, 0};
  for (Isa isa : supported_isas()) {
    attention(nullptr, nullptr, nullptr, segments, 1, {0, 2, 1, 8, 1.0f}, nullptr, nullptr, isa);
    attention_backward(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, segments, 1, {0, 2, 1, 8, 1.0f}, nullptr,
                       nullptr, nullptr, isa);
    attention_cached(nullptr, nullptr, nullptr, nullptr, nullptr, 0, {0, 2, 1, 8, 1.0f}, nullptr, isa);
  }
}

}  // namespace
}  // namespace pocketlora
