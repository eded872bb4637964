#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/platform/runtime.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/common/parallel.h"
#include "kernels/common/test_support.h"
#include "kernels/executorch/parallel_backend.h"
#include "kernels/executorch/register.h"
#include "kernels/executorch/test_call.h"
#include "kernels/rms_norm/rms_norm.h"

namespace pocketlora {
namespace {

using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using test::Call;

std::vector<SizesType> sizes_of(const Tensor& tensor) {
  return std::vector<SizesType>(tensor.sizes().begin(), tensor.sizes().end());
}

// An nf4 matrix [20, 70] with groups of 64: 2 x 1 tiles of 1088 bytes, every code 0 (value -1) and every scale 1.
constexpr int64_t kRows = 20, kCols = 70;

std::vector<uint8_t> unit_tiles() {
  std::vector<uint8_t> tiles(2 * 1088, 0);
  for (size_t tile = 0; tile < 2; ++tile) {
    for (size_t s = 0; s < 32; ++s) tiles[tile * 1088 + 1024 + 2 * s + 1] = 0x3C;
  }
  return tiles;
}

Call& q4(Call& call) { return call.bytes({2, 1, 1088}, unit_tiles()); }
Call& q4_facts(Call& call) { return call.integer(kRows).integer(kCols).integer(0).integer(64); }

class Ops : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { executorch::runtime::runtime_init(); }
};

TEST_F(Ops, RegistrationIsIdempotentAndComplete) {
  EXPECT_TRUE(register_pocketlora_ops());
  EXPECT_TRUE(register_pocketlora_ops());
  for (const char* name : {
#define PL_OP(op) "pocketlora::" #op ".out",
#include "kernels/executorch/ops.inc"
#undef PL_OP
       }) {
    EXPECT_TRUE(executorch::runtime::registry_has_op_function(name)) << name;
  }
}

TEST_F(Ops, ResultIsTheKernelsAndTheOutputIsResized) {
  const auto x = test::random_floats(3 * 10, 1), weight = test::random_floats(10, 2);
  std::vector<float> expected(x.size());
  rms_norm(x.data(), weight.data(), 1e-5f, 3, 10, expected.data());
  Call call("rms_norm");
  call.floats({3, 10}, x).floats({10}, weight).real(1e-5f).output({8, 10});
  ASSERT_EQ(call.run(), Error::Ok);
  EXPECT_EQ(sizes_of(call.out()), (std::vector<SizesType>{3, 10}));
  EXPECT_EQ(call.result(), expected);
}

TEST_F(Ops, RmsNormOfEachHeadIsThatOfRows) {
  const auto x = test::random_floats(3 * 20, 1), dy = test::random_floats(3 * 20, 3);
  const auto weight = test::random_floats(5, 2);
  std::vector<float> expected(x.size()), gradient(x.size());
  rms_norm(x.data(), weight.data(), 1e-5f, 12, 5, expected.data());
  rms_norm_backward(dy.data(), x.data(), weight.data(), 1e-5f, 12, 5, gradient.data());
  Call forward("rms_norm"), backward("rms_norm_backward"), uneven("rms_norm");
  forward.floats({3, 20}, x).floats({5}, weight).real(1e-5f).output({3, 20});
  backward.floats({3, 20}, dy).floats({3, 20}, x).floats({5}, weight).real(1e-5f).output({3, 20});
  ASSERT_EQ(forward.run(), Error::Ok);
  ASSERT_EQ(backward.run(), Error::Ok);
  EXPECT_EQ(forward.result(), expected);
  EXPECT_EQ(backward.result(), gradient);
  EXPECT_EQ(uneven.zeros({3, 20}).zeros({6}).real(1e-5).output({3, 20}).run(), Error::InvalidArgument);
}

TEST_F(Ops, WrongDtypeRankOrSizeIsRefused) {
  const auto refused = [](Call& call) { EXPECT_EQ(call.output({8, 10}).run(), Error::InvalidArgument); };
  Call dtype("rms_norm"), rank("rms_norm"), width("rms_norm");
  refused(dtype.longs({3, 10}, std::vector<int64_t>(30)).zeros({10}).real(1e-5));
  refused(rank.zeros({30}).zeros({10}).real(1e-5));
  refused(width.zeros({3, 10}).zeros({11}).real(1e-5));
}

TEST_F(Ops, OutputsTooSmallOrWithoutMemoryAreRefused) {
  Call small("rms_norm"), unbound("rms_norm");
  EXPECT_EQ(small.zeros({3, 10}).zeros({10}).real(1e-5).output({2, 10}).run(), Error::InvalidArgument);
  EXPECT_EQ(unbound.zeros({3, 10}).zeros({10}).real(1e-5).output({3, 10}, false).run(), Error::InvalidState);
}

TEST_F(Ops, AStackThatDoesNotFitTheSchemaIsRefused) {
  Call missing("rms_norm"), wrong("rms_norm");
  EXPECT_EQ(missing.zeros({3, 10}).zeros({10}).output({3, 10}).run(), Error::InvalidProgram);
  EXPECT_EQ(wrong.zeros({3, 10}).zeros({10}).boolean(true).output({3, 10}).run(), Error::InvalidProgram);
}

TEST_F(Ops, AWholeNumberServesAsAFloatArgument) {
  Call call("rope_table");
  call.longs({1}, {0}).floats({2}, {1.0f, 0.5f}).integer(1).output({1, 4});
  ASSERT_EQ(call.run(), Error::Ok);
  EXPECT_EQ(call.result(), (std::vector<float>{1, 1, 0, 0}));
}

TEST_F(Ops, ALayerNormWorksWithoutItsVectors) {
  const std::vector<float> x = {1, 3, -1, 1};
  Call bare("layer_norm"), full("layer_norm"), narrow("layer_norm");
  ASSERT_EQ(bare.floats({2, 2}, x).none().none().real(0).output({2, 2}).run(), Error::Ok);
  EXPECT_EQ(bare.result(), (std::vector<float>{-1, 1, -1, 1}));
  full.floats({2, 2}, x).floats({2}, {2, 4}).floats({2}, {1, -1}).real(0).output({2, 2});
  ASSERT_EQ(full.run(), Error::Ok);
  EXPECT_EQ(full.result(), (std::vector<float>{-1, 3, -1, 3}));
  EXPECT_EQ(narrow.floats({2, 2}, x).zeros({3}).none().real(0).output({2, 2}).run(), Error::InvalidArgument);
  Call heads("layer_norm");
  heads.floats({1, 4}, x).floats({2}, {2, 4}).none().real(0).output({1, 4});
  ASSERT_EQ(heads.run(), Error::Ok);
  EXPECT_EQ(heads.result(), (std::vector<float>{-2, 4, -2, 4}));
}

TEST_F(Ops, ACapIsPositive) {
  for (const auto& [cap, expected] : {std::pair<double, Error>{30.0, Error::Ok}, {0.0, Error::InvalidArgument}}) {
    Call call("soft_cap");
    EXPECT_EQ(call.zeros({1, 5}).real(cap).output({1, 5}).run(), expected) << cap;
  }
}

TEST_F(Ops, TokensOutsideTheVocabularyAreRefused) {
  for (const int64_t token : {int64_t{-1}, kRows, int64_t{1} << 40}) {
    Call call("embedding");
    EXPECT_EQ(q4_facts(q4(call.longs({2}, {0, token}))).output({2, kCols}).run(), Error::InvalidArgument) << token;
  }
  Call call("embedding");
  ASSERT_EQ(q4_facts(q4(call.longs({2}, {0, kRows - 1}))).output({2, kCols}).run(), Error::Ok);
  EXPECT_EQ(call.result(), std::vector<float>(2 * kCols, -1.0f));
}

TEST_F(Ops, MatricesThatDoNotFitTheirDescriptionAreRefused) {
  const std::vector<std::vector<int64_t>> wrong = {{33, 70, 0, 64}, {20, 129, 0, 64}, {20, 70, 0, 32}, {20, 70, 2, 64},
                                                   {20, 70, 1, 32}, {20, 70, 1, 48},  {0, 70, 0, 64},  {20, -1, 0, 64}};
  for (const auto& facts : wrong) {
    Call call("embedding");
    q4(call.longs({1}, {0}));
    for (const int64_t fact : facts) call.integer(fact);
    EXPECT_EQ(call.output({1, kCols}).run(), Error::InvalidArgument) << facts[0] << " " << facts[1];
  }
}

Call& lora(Call& call, SizesType rank) {
  return q4(call.zeros({2, kCols})).none().zeros({rank, kCols}).zeros({kRows, rank}).zeros({rank});
}

TEST_F(Ops, LoraLinearWithoutARankIsTheLinear) {
  Call call("lora_linear"), linear("linear4");
  const auto x = test::random_floats(2 * kCols, 3), bias = test::random_floats(kRows, 4);
  q4(call.floats({2, kCols}, x)).floats({kRows}, bias).zeros({0, kCols}).zeros({kRows, 0}).zeros({0});
  ASSERT_EQ(q4_facts(call.none().none().integer(0)).output({2, kRows}).run(), Error::Ok);
  ASSERT_EQ(q4_facts(q4(linear.floats({2, kCols}, x)).floats({kRows}, bias)).output({2, kRows}).run(), Error::Ok);
  EXPECT_EQ(call.result(), linear.result());
}

TEST_F(Ops, DropoutNeedsAProbabilityAndASeed) {
  Call high("lora_linear"), unseeded("lora_linear"), none("lora_linear"), good("lora_linear");
  const auto run = [](Call& call) { return q4_facts(call.integer(0)).output({2, kRows}).run(); };
  EXPECT_EQ(run(lora(high, 1).floats({1}, {1.0f}).longs({1}, {1})), Error::InvalidArgument);
  EXPECT_EQ(run(lora(unseeded, 1).floats({1}, {0.5f}).none()), Error::InvalidArgument);
  EXPECT_EQ(run(lora(none, 1).floats({1}, {0.0f}).none()), Error::Ok);
  EXPECT_EQ(run(lora(good, 1).floats({1}, {0.5f}).longs({1}, {1})), Error::Ok);
}

TEST_F(Ops, AdapterTensorsMustFitTheLayerAndEachOther) {
  Call call("lora_linear");
  q4(call.zeros({2, kCols})).none().zeros({2, kCols}).zeros({kRows, 3}).zeros({2}).none().none().integer(0);
  EXPECT_EQ(q4_facts(call).output({2, kRows}).run(), Error::InvalidArgument);
}

TEST_F(Ops, LoraGradientsTakeTheRanksSize) {
  for (const SizesType rank : {0, 2}) {
    Call call("lora_linear_backward");
    q4(call.zeros({2, kRows}).zeros({2, kCols})).zeros({rank, kCols}).zeros({kRows, rank}).zeros({rank});
    q4_facts(call.none().none().integer(0)).output({4, kCols}).output({4, kCols}).output({kRows, 4});
    ASSERT_EQ(call.run(), Error::Ok);
    EXPECT_EQ(sizes_of(call.out(0)), (std::vector<SizesType>{2, kCols}));
    EXPECT_EQ(sizes_of(call.out(1)), (std::vector<SizesType>{rank, kCols}));
    EXPECT_EQ(sizes_of(call.out(2)), (std::vector<SizesType>{kRows, rank}));
  }
}

TEST_F(Ops, LabelsOutsideTheVocabularyAreRefused) {
  for (const auto& [label, expected] : {std::pair<int64_t, Error>{-100, Error::Ok},
                                        {0, Error::Ok},
                                        {kRows - 1, Error::Ok},
                                        {kRows, Error::InvalidArgument},
                                        {-1, Error::InvalidArgument}}) {
    Call call("head_loss");
    q4(call.zeros({1, kCols})).none().longs({1}, {label}).floats({1}, {1.0f});
    q4_facts(call).real(0).output({1}).output({1}).output({1, kCols});
    EXPECT_EQ(call.run(), expected) << label;
  }
}

Error run_attention(std::vector<int64_t> segments, SizesType q_width = 16, int64_t head_dim = 4, int64_t window = 0,
                    double softcap = 0) {
  Call call("attention");
  const SizesType count = static_cast<SizesType>(segments.size());
  call.zeros({5, q_width}).zeros({5, 8}).zeros({5, 8}).longs({count}, std::move(segments)).integer(head_dim).real(0.5);
  call.integer(window).real(softcap);
  return call.output({5, q_width}).output({5, 4}).run();
}

TEST_F(Ops, SegmentsMustAscendFromTheFirstRowToTheLast) {
  EXPECT_EQ(run_attention({0, 2, 5}), Error::Ok);
  EXPECT_EQ(run_attention({0, 5, 5}), Error::Ok);
  EXPECT_EQ(run_attention({0, 2, 4}), Error::InvalidArgument);
  EXPECT_EQ(run_attention({1, 5}), Error::InvalidArgument);
  EXPECT_EQ(run_attention({0, 7, 5}), Error::InvalidArgument);
  EXPECT_EQ(run_attention({0, -3, 5}), Error::InvalidArgument);
  EXPECT_EQ(run_attention({}), Error::InvalidArgument);
}

TEST_F(Ops, HeadsMustBeWholeAndGrouped) {
  EXPECT_EQ(run_attention({0, 5}, 12), Error::InvalidArgument);     // 3 query heads, 2 key heads
  EXPECT_EQ(run_attention({0, 5}, 18), Error::InvalidArgument);     // 4.5 heads
  EXPECT_EQ(run_attention({0, 5}, 16, 0), Error::InvalidArgument);  // no width
}

TEST_F(Ops, NeitherWindowNorSoftcapIsNegative) {
  EXPECT_EQ(run_attention({0, 5}, 16, 4, 3), Error::Ok);
  EXPECT_EQ(run_attention({0, 5}, 16, 4, -1), Error::InvalidArgument);
  EXPECT_EQ(run_attention({0, 5}, 16, 4, 0, 50.0), Error::Ok);
  EXPECT_EQ(run_attention({0, 5}, 16, 4, 0, -50.0), Error::InvalidArgument);
}

Error run_attention_cached(SizesType row_bytes, int64_t past) {
  Call call("attention_cached");
  const std::vector<uint8_t> cache(static_cast<size_t>(3 * row_bytes));
  call.zeros({2, 8}).zeros({2, 8}).zeros({2, 8}).bytes({3, row_bytes}, cache).bytes({3, row_bytes}, cache);
  call.longs({1}, {past}).integer(8).real(0.5).integer(0).real(0);
  return call.output({2, 8}).run();
}

TEST_F(Ops, ACacheRowHasTheSizeOfAFormat) {
  for (const SizesType bytes : {32, 16, 12}) EXPECT_EQ(run_attention_cached(bytes, 2), Error::Ok) << bytes;
  for (const SizesType bytes : {8, 20, 64}) EXPECT_EQ(run_attention_cached(bytes, 2), Error::InvalidArgument) << bytes;
}

TEST_F(Ops, ThePastMustLieInTheCache) {
  for (const auto& [past, expected] : {std::pair<int64_t, Error>{0, Error::Ok},
                                       {3, Error::Ok},
                                       {4, Error::InvalidArgument},
                                       {-1, Error::InvalidArgument}}) {
    EXPECT_EQ(run_attention_cached(32, past), expected) << past;
  }
}

TEST_F(Ops, TheThreadPoolCoversEveryIndexOnceAndNests) {
  for (const int threads : {0, 1, 2, 1000}) {
    use_executorch_threadpool(threads);
    std::vector<int> outer(1001, 0), inner(1001, 0);
    parallel_for(0, 1001, 3, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++outer[static_cast<size_t>(i)];
      parallel_for(begin, end, 1, [&](int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) ++inner[static_cast<size_t>(i)];
      });
    });
    EXPECT_EQ(outer, std::vector<int>(1001, 1)) << threads;
    EXPECT_EQ(inner, std::vector<int>(1001, 1)) << threads;
  }
  set_parallel_backend(nullptr);
}

}  // namespace
}  // namespace pocketlora
