#include "trainer/activation_store.h"

#include <cmath>
#include <cstring>

#include "common/test_support.h"

namespace pocketlora {
namespace {

constexpr int64_t kLayers = 5, kRows = 6, kHidden = 40;

float value_of(int64_t layer, int64_t index) {
  return static_cast<float>(layer + 1) + 0.001F * static_cast<float>(index);
}

ActivationLayout layout_of(FloatFormat format, int64_t resident_limit) {
  ActivationLayout layout;
  layout.num_layers = kLayers;
  layout.max_rows = kRows;
  layout.hidden_size = kHidden;
  layout.format = format;
  layout.resident_limit = resident_limit;
  return layout;
}

/// The forward walk: each state is written while the one below is still read.
void write_states(ActivationStore* store, int64_t rows) {
  store->begin(rows);
  for (int64_t layer = 0; layer <= kLayers; ++layer) {
    for (int64_t i = 0; i < rows * kHidden; ++i) store->state(layer)[i] = value_of(layer, i);
    if (layer > 0) {
      EXPECT_EQ(store->state(layer - 1)[0], value_of(layer - 1, 0));
    }
    if (layer < kLayers) {
      ASSERT_TRUE(store->keep(layer).ok());
    }
  }
}

/// The backward walk writes to the spare state meanwhile. @return the largest relative error of what comes back.
double worst_error(ActivationStore* store, int64_t rows) {
  double worst = 0.0;
  for (int64_t layer = kLayers - 1; layer >= 0; --layer) {
    store->spare()[0] = -1.0F;
    const Result<const float*> state = store->recall(layer);
    EXPECT_TRUE(state.ok()) << state.status().message();
    for (int64_t i = 0; i < rows * kHidden; ++i) {
      const auto expected = static_cast<double>(value_of(layer, i));
      worst = std::max(worst, std::abs(static_cast<double>(state.value()[i]) - expected) / expected);
    }
  }
  return worst;
}

int64_t touched(const MemoryAccount& account) {
  return account.totals()[static_cast<size_t>(MemoryPart::kBlockInputs)];
}

TEST(ActivationStore, GivesBackEveryStateInEveryFormatFromMemoryAndFromTheFile) {
  const TempDir dir;
  const int64_t one = layout_of(FloatFormat::kFloat16, -1).stored_state_bytes(kRows);
  // Rounding to nearest: half a unit of the last of 11 and of 8 bits.
  const std::pair<FloatFormat, double> cases[] = {{FloatFormat::kFloat32, 0.0},
                                                  {FloatFormat::kFloat16, std::ldexp(1.0, -11)},
                                                  {FloatFormat::kBfloat16, std::ldexp(1.0, -8)}};
  for (const auto& [format, bound] : cases) {
    for (const int64_t limit : {int64_t{-1}, int64_t{0}, 2 * one, 100 * one}) {
      MemoryAccount account;
      Result<ActivationStore> made = ActivationStore::create(layout_of(format, limit), dir.path(), &account);
      ASSERT_TRUE(made.ok()) << made.status().message();
      for (const int64_t rows : {kRows, kRows - 1, int64_t{1}}) {  // fewer rows fit more states into the same memory
        write_states(&made.value(), rows);
        const double worst = worst_error(&made.value(), rows);
        EXPECT_LE(worst, bound) << "format " << static_cast<int>(format) << ", limit " << limit;
        EXPECT_EQ(worst == 0.0, format == FloatFormat::kFloat32);
      }
      const auto page_rounding = int64_t{3 * 4096};
      EXPECT_LE(touched(account), made.value().layout().memory_bytes().value() + page_rounding);
    }
  }
  EXPECT_EQ(dir.num_entries(), 0U);
}

TEST(ActivationStore, AStateBeyondHalfsRangeIsKeptAsBfloat16) {
  MemoryAccount account;
  Result<ActivationStore> made = ActivationStore::create(layout_of(FloatFormat::kFloat16, -1), "", &account);
  ASSERT_TRUE(made.ok());
  ActivationStore& store = made.value();
  store.begin(1);
  for (int64_t layer = 0; layer <= kLayers; ++layer) {
    for (int64_t i = 0; i < kHidden; ++i) store.state(layer)[i] = layer == 1 ? 1e6F : 1.001F;
    if (layer < kLayers) {
      ASSERT_TRUE(store.keep(layer).ok());
    }
  }
  for (int64_t layer = kLayers - 1; layer >= 0; --layer) {
    const float* state = store.recall(layer).value();
    EXPECT_NEAR(state[3], layer == 1 ? 1e6F : 1.001F, layer == 1 ? 1e6F / 256 : 1.001F / 2048);
  }
}

TEST(ActivationStore, CountsItsMemoryAndItsFile) {
  constexpr int64_t kState = kRows * kHidden * 4;
  EXPECT_EQ(layout_of(FloatFormat::kFloat32, -1).memory_bytes().value(), (kLayers + 1) * kState);
  EXPECT_EQ(layout_of(FloatFormat::kFloat32, -1).file_bytes(), 0);
  // Two working states, and every other of the layers' states in half the size; the last one is not kept.
  EXPECT_EQ(layout_of(FloatFormat::kBfloat16, -1).memory_bytes().value(), 2 * kState + (kLayers - 1) * kState / 2);
  EXPECT_EQ(layout_of(FloatFormat::kFloat32, 0).memory_bytes().value(), 2 * kState);
  EXPECT_EQ(layout_of(FloatFormat::kFloat32, 0).file_bytes(), (kLayers - 1) * kState);
  EXPECT_EQ(layout_of(FloatFormat::kFloat16, kState).memory_bytes().value(), 2 * kState + kState + kState / 2);
  EXPECT_EQ(layout_of(FloatFormat::kFloat16, kState).file_bytes(), (kLayers - 3) * kState / 2);
  ActivationLayout huge = layout_of(FloatFormat::kFloat32, -1);
  huge.max_rows = int64_t{1} << 60;
  EXPECT_EQ(huge.memory_bytes().status().code(), PL_OUT_OF_MEMORY);
}

TEST(ActivationStore, NeedsAFolderForItsFile) {
  MemoryAccount account;
  const TempDir dir;
  EXPECT_TRUE(
      fails_with(ActivationStore::create(layout_of(FloatFormat::kFloat32, 0), dir / "absent", &account).status(),
                 PL_INVALID_ARGUMENT, {dir / "absent"}));
}

}  // namespace
}  // namespace pocketlora
