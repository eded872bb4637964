#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <list>

#include "kernels/attention/reference.h"
#include "kernels/common/half.h"
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
  for (int64_t i = 0; i < actual.size(); ++i) {
    const size_t at = static_cast<size_t>(i);
    const auto where = [&] { return what + " at " + std::to_string(i); };
    if (!test::expect_near(actual[i], expected.value[at], expected.bound[at], where)) return;
  }
}

void check(Isa isa, const AttentionCase& c, const AttentionReference& reference) {
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
  for (int64_t window : {1, 2, 3, 8, 20, 32, 33, 70, 71, 500}) {
    all.emplace_back(2, 1, 20, std::vector<int64_t>{71, 3}, window);
    all.emplace_back(3, 3, 16, std::vector<int64_t>{1, 40}, window);
  }
  for (float cap : {0.5f, 3.0f, 50.0f}) {
    all.emplace_back(4, 2, 20, std::vector<int64_t>{9, 0, 40}, 0, cap);
    all.emplace_back(2, 1, 64, std::vector<int64_t>{71, 3}, 33, cap);
  }
  return all;
}

struct ReferredCase {
  explicit ReferredCase(const AttentionCase& the_case) : c(the_case), reference(c) {}
  ReferredCase(const ReferredCase&) = delete;  // the reference points into it
  AttentionCase c;
  AttentionReference reference;
};

/** The cases with their references, which take longer than the kernels: made once for all instruction sets. */
const std::list<ReferredCase>& referred_cases() {
  static const std::list<ReferredCase> all = [] {
    std::list<ReferredCase> made;
    for (const AttentionCase& c : cases()) made.emplace_back(c);
    return made;
  }();
  return all;
}

#define PL_KERNEL(isa, forward, backward, store)                                               \
  TEST(Attention, forward) {                                                                   \
    if (!isa_supported(Isa::isa)) GTEST_SKIP() << isa_name(Isa::isa) << " is not supported";   \
    for (const ReferredCase& each : referred_cases()) check(Isa::isa, each.c, each.reference); \
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
    test::expect_near(gradient.value[i], slope.value, slope.error,
                      [&] { return c.name() + " at " + std::to_string(i); });
  }
}

TEST(Attention, TheReferenceGradientsAreThoseOfFiniteDifferences) {
  // The kernels' gradients are within their bounds of these (the tests above).
  for (const AttentionCase& c : {AttentionCase(4, 2, 6, {1, 2, 5}), AttentionCase(3, 1, 4, {7}),
                                 AttentionCase(4, 2, 4, {3, 7}, 3), AttentionCase(4, 2, 6, {1, 2, 5}, 0, 0.7f)}) {
    const AttentionReference reference(c);
    check_differences(c, &test::WideInputs::q, reference.dq);
    check_differences(c, &test::WideInputs::k, reference.dk);
    check_differences(c, &test::WideInputs::v, reference.dv);
  }
}

TEST(Attention, DoesNotDependOnTheThreads) {
  const AttentionCase c(6, 2, 24, {40, 1, 35}, 21, 5.0f);
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
  for (float cap : {0.0f, 50.0f}) {
    AttentionCase c(2, 1, 16, {6}, 0, cap);
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
}

/** A cache's rows as they are stored. */
std::vector<uint8_t> stored_rows(CacheFormat format, const std::vector<float>& rows, int64_t heads, int64_t dim,
                                 Isa isa = Isa::kScalar) {
  const int64_t n = static_cast<int64_t>(rows.size()) / (heads * dim);
  Guarded<uint8_t> bytes(n * heads * cache_head_bytes(format, dim));
  const Guarded<float> given(rows);
  store_cache_rows(format, given.data(), n, heads, dim, bytes.data(), isa);
  return std::vector<uint8_t>(bytes.data(), bytes.data() + bytes.size());
}

/** The values of stored rows, by the definition of their format. */
std::vector<float> values_of(CacheFormat format, const std::vector<uint8_t>& bytes, int64_t dim) {
  const size_t head_bytes = static_cast<size_t>(cache_head_bytes(format, dim));
  std::vector<float> values;
  for (size_t head = 0; head < bytes.size(); head += head_bytes) {
    for (size_t d = 0; d < static_cast<size_t>(dim); ++d) {
      float value = 0;
      uint16_t half = 0;
      switch (format) {
        case CacheFormat::kFloat32:
          std::memcpy(&value, &bytes[head + 4 * d], sizeof(value));
          break;
        case CacheFormat::kFloat16:
          std::memcpy(&half, &bytes[head + 2 * d], sizeof(half));
          value = half_to_float(half);
          break;
        case CacheFormat::kInt8:
          std::memcpy(&value, &bytes[head], sizeof(value));
          value *= static_cast<float>(static_cast<int8_t>(bytes[head + 4 + d]));
      }
      values.push_back(value);
    }
  }
  return values;
}

/** The rows [first, first + count) of a case's only segment, with the rows before them cached; those that no window
 * reaches are poisoned. */
std::vector<float> cached(const AttentionCase& c, CacheFormat format, int64_t first, int64_t count, Isa isa) {
  const int64_t kv = c.kv_stride(), width = c.q_stride();
  const auto part = [](const std::vector<float>& all, int64_t stride, int64_t begin, int64_t end) {
    return std::vector<float>(all.begin() + begin * stride, all.begin() + end * stride);
  };
  const Guarded<float> q(part(c.q, width, first, first + count));
  const Guarded<float> k(part(c.k, kv, first, first + count)), v(part(c.v, kv, first, first + count));
  std::vector<uint8_t> k_bytes = stored_rows(format, part(c.k, kv, 0, first), c.num_kv_heads, c.head_dim);
  std::vector<uint8_t> v_bytes = stored_rows(format, part(c.v, kv, 0, first), c.num_kv_heads, c.head_dim);
  const int64_t dead = c.window > 0 ? std::max<int64_t>(0, first + 1 - c.window) : 0;
  const int64_t dead_bytes = dead * c.num_kv_heads * cache_head_bytes(format, c.head_dim);
  for (auto* bytes : {&k_bytes, &v_bytes}) std::fill(bytes->begin(), bytes->begin() + dead_bytes, 0xFF);
  const Guarded<uint8_t> k_cache(k_bytes), v_cache(v_bytes);
  Guarded<float> out(count * width);
  AttentionShape shape = c.shape();
  shape.n_rows = count;
  attention_cached(q.data(), k.data(), v.data(), {format, k_cache.data(), v_cache.data(), first}, shape, out.data(),
                   isa);
  return std::vector<float>(out.data(), out.data() + out.size());
}

std::string name_of(const AttentionCase& c, CacheFormat format, Isa isa) {
  return c.name() + " " + cache_format_name(format) + ", " + isa_name(isa);
}

TEST(AttentionCached, EveryFormatIsTheReferenceOnTheStoredRows) {
  for (const auto& [heads, kv_heads, dim] : {std::array<int64_t, 3>{4, 2, 64}, {3, 3, 18}, {8, 1, 128}, {2, 2, 33}}) {
    for (int64_t window : {0, 1, 5, 30, 64, 100}) {
      const AttentionCase c(heads, kv_heads, dim, {83}, window, window == 30 ? 2.0f : 0.0f);
      for (CacheFormat format : kCacheFormats) {
        AttentionCase rounded = c;
        rounded.k = values_of(format, stored_rows(format, c.k, kv_heads, dim), dim);
        rounded.v = values_of(format, stored_rows(format, c.v, kv_heads, dim), dim);
        const int64_t first = 60;
        const AttentionReference reference = AttentionReference::forward(rounded, first);
        for (Isa isa : supported_isas()) {
          const std::vector<float> out = cached(c, format, first, 23, isa);
          const auto where = [&, format = format] { return name_of(c, format, isa); };
          for (size_t i = 0; i < out.size(); ++i) {
            const size_t at = i + static_cast<size_t>(first * c.q_stride());
            if (!test::expect_near(out[i], reference.out.value[at], reference.out.bound[at], where)) return;
          }
        }
      }
    }
  }
}

TEST(AttentionCached, ARowHasTheSameBitsHoweverItsBlockWasCut) {
  for (const auto& [heads, head_dim, window] :
       {std::array<int64_t, 3>{4, 64, 0}, {4, 18, 0}, {4, 64, 6}, {2, 32, 1}, {2, 24, 40}}) {
    const AttentionCase c(heads, 2, head_dim, {43}, window, window == 40 ? 2.0f : 0.0f);
    for (CacheFormat format : kCacheFormats) {
      for (Isa isa : supported_isas()) {
        const std::vector<float> whole = cached(c, format, 0, 43, isa);
        for (int64_t chunk : {1, 2, 5, 34}) {
          std::vector<float> pieces;
          for (int64_t first = 0; first < 43; first += chunk) {
            const std::vector<float> piece = cached(c, format, first, std::min<int64_t>(chunk, 43 - first), isa);
            pieces.insert(pieces.end(), piece.begin(), piece.end());
          }
          EXPECT_EQ(pieces, whole) << name_of(c, format, isa) << ", chunks of " << chunk;
        }
        if (format != CacheFormat::kFloat32) continue;
        Buffers b(c);
        run_forward(c, b, isa);
        EXPECT_EQ(whole, std::vector<float>(b.out.data(), b.out.data() + b.out.size())) << name_of(c, format, isa);
      }
    }
  }
}

TEST(AttentionCached, RowsBeyondThePastAreNotRead) {
  const AttentionCase c(2, 1, 8, {5});
  const std::vector<uint8_t> poison(static_cast<size_t>(8 * 8 * 4), 0xFF);
  for (CacheFormat format : kCacheFormats) {
    for (Isa isa : supported_isas()) {
      std::vector<float> out(c.q.size());
      attention_cached(c.q.data(), c.k.data(), c.v.data(), {format, poison.data(), poison.data(), 0}, c.shape(),
                       out.data(), isa);
      for (const float value : out) EXPECT_TRUE(std::isfinite(value)) << name_of(c, format, isa);
    }
  }
}

TEST(StoredRows, TheFormatIsToldFromTheSize) {
  for (int64_t dim : {2, 6, 33, 64, 128}) {
    for (CacheFormat format : kCacheFormats) {
      CacheFormat found{};
      ASSERT_TRUE(cache_format_of(cache_head_bytes(format, dim), dim, &found));
      EXPECT_EQ(found, format) << dim;
    }
    CacheFormat unused{};
    EXPECT_FALSE(cache_format_of(3 * dim + 5, dim, &unused));
  }
}

TEST(StoredRows, EveryInstructionSetStoresTheSameBits) {
  for (int64_t dim : {1, 7, 24, 64, 128}) {
    std::vector<float> rows = test::random_floats(5 * 3 * dim, 31, 10.0f);
    rows[0] = 1e6f;                                                                      // beyond the halves
    std::fill(rows.begin() + dim, rows.begin() + 2 * dim, 0.0f);                         // a head of zeros
    for (int64_t d = 0; d < dim; ++d) rows[static_cast<size_t>(2 * dim + d)] *= 1e-44f;  // a subnormal scale
    for (int64_t d = 0; d < dim; ++d) rows[static_cast<size_t>(3 * dim + d)] = 0.5f * static_cast<float>(d % 255 - 127);
    for (CacheFormat format : kCacheFormats) {
      const std::vector<uint8_t> expected = stored_rows(format, rows, 3, dim);
      for (Isa isa : supported_isas()) {
        EXPECT_EQ(stored_rows(format, rows, 3, dim, isa), expected) << cache_format_name(format) << isa_name(isa);
      }
    }
  }
}

TEST(StoredRows, AreWithinHalfAStep) {
  const int64_t dim = 64;
  const std::vector<float> rows = test::random_floats(40 * dim, 32);
  for (CacheFormat format : kCacheFormats) {
    const std::vector<float> values = values_of(format, stored_rows(format, rows, 1, dim), dim);
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t head = i / dim * dim;
      float largest = 0;
      for (size_t d = 0; d < dim; ++d) largest = std::max(largest, std::abs(rows[head + d]));
      // Half a unit of the last place (2^-11 of the value, 2^-25 below the normal halves), or half a step and its
      // rounding.
      const double x = std::abs(static_cast<double>(rows[i]));
      const double bound = format == CacheFormat::kFloat32   ? 0
                           : format == CacheFormat::kFloat16 ? std::max(x * 0x1p-11, 0x1p-25)
                                                             : largest / 127.0 * (0.5 + 127 * 0x1p-22);
      test::expect_near(values[i], rows[i], bound, cache_format_name(format));
    }
  }
}

TEST(StoredRows, WhatIsNotFiniteStaysSo) {
  const std::vector<float> rows = {1.0f, INFINITY, 2.0f, 3.0f};
  for (Isa isa : supported_isas()) {
    const auto values = values_of(CacheFormat::kInt8, stored_rows(CacheFormat::kInt8, rows, 1, 4, isa), 4);
    EXPECT_TRUE(std::isnan(values[0])) << isa_name(isa);
  }
}

TEST(Attention, NoRows) {
  const int64_t segments[] = {0, 0};
  for (Isa isa : supported_isas()) {
    attention(nullptr, nullptr, nullptr, segments, 1, {0, 2, 1, 8, 1.0f}, nullptr, nullptr, isa);
    attention_backward(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, segments, 1, {0, 2, 1, 8, 1.0f}, nullptr,
                       nullptr, nullptr, isa);
    for (CacheFormat format : kCacheFormats) {
      attention_cached(nullptr, nullptr, nullptr, {format, nullptr, nullptr, 0}, {0, 2, 1, 8, 1.0f}, nullptr, isa);
    }
  }
}

}  // namespace
}  // namespace pocketlora
