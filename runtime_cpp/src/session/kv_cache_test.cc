#include "session/kv_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace pocketlora {
namespace {

KvCacheShape shape_of(CacheFormat format, std::vector<int64_t> windows) {
  KvCacheShape shape;
  shape.format = format;
  shape.capacity = 2048;
  shape.num_heads = 4;
  shape.head_dim = 32;
  shape.largest_write = 16;
  shape.windows = std::move(windows);
  return shape;
}

/// Writes rows [begin, end) of every layer as a session does: value = row + layer, keys negative.
void write(KvCache* cache, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += cache->shape().largest_write) {
    const int64_t count = std::min(cache->shape().largest_write, end - row);
    for (int64_t layer = 0; layer < cache->shape().num_layers(); ++layer) {
      const int64_t width = cache->shape().num_heads * cache->shape().head_dim;
      for (int64_t i = 0; i < count * width; ++i) {
        cache->new_values(layer, row)[i] = static_cast<float>(row + i / width + layer);
        cache->new_keys(layer, row)[i] = -static_cast<float>(row + i / width + layer);
      }
      cache->store(layer, row, count);
    }
    cache->release_unseen(row + count);
  }
}

/// The rows [begin, end) of a layer are what `write` stores there.
void expect_rows(const KvCache& cache, int64_t layer, int64_t begin, int64_t end) {
  const KvCacheShape& shape = cache.shape();
  for (int64_t row = begin; row < end; ++row) {
    std::vector<float> values(static_cast<size_t>(shape.num_heads * shape.head_dim), static_cast<float>(row + layer));
    std::vector<uint8_t> stored(static_cast<size_t>(shape.row_bytes()));
    for (const bool keys : {false, true}) {
      if (keys) {
        for (float& value : values) value = -value;
      }
      store_cache_rows(shape.format, values.data(), 1, shape.num_heads, shape.head_dim, stored.data());
      const uint8_t* found = (keys ? cache.keys(layer) : cache.values(layer)) + row * shape.row_bytes();
      ASSERT_EQ(std::memcmp(found, stored.data(), stored.size()), 0) << "row " << row << " of layer " << layer;
    }
  }
}

int64_t page() { return static_cast<int64_t>(::sysconf(_SC_PAGESIZE)); }

TEST(KvCache, ARowTakesWhatItsFormatSays) {
  for (const auto& [format, head_bytes] :
       {std::pair{CacheFormat::kFloat32, 128}, {CacheFormat::kFloat16, 64}, {CacheFormat::kInt8, 36}}) {
    const KvCacheShape shape = shape_of(format, {0, 0, 7});
    EXPECT_EQ(shape.row_bytes(), 4 * head_bytes);
    EXPECT_EQ(shape.token_bytes(), 2 * 3 * 4 * head_bytes);
  }
}

TEST(KvCache, RowsAreStoredAndBecomeResidentAsTheyAreWritten) {
  for (const CacheFormat format : kCacheFormats) {
    MemoryAccount account;
    KvCache cache = KvCache::create(shape_of(format, {0, 0}), &account).value();
    EXPECT_EQ(cache.resident(), 0);
    write(&cache, 0, 100);
    expect_rows(cache, 0, 0, 100);
    expect_rows(cache, 1, 0, 100);
    const int64_t rows = 100 * cache.shape().token_bytes();
    EXPECT_GE(cache.resident(), rows);
    EXPECT_LE(cache.resident(), rows + 2 * 4 * page());  // two pages at the ends of each of the four matrices
    EXPECT_EQ(account.totals()[static_cast<size_t>(MemoryPart::kKvCache)], cache.resident());
  }
}

TEST(KvCache, WhatAWindowHasPassedIsGivenBack) {
  for (const CacheFormat format : kCacheFormats) {
    MemoryAccount account;
    KvCache cache = KvCache::create(shape_of(format, {100, 300}), &account).value();
    for (int64_t end = 16; end <= 2048; end += 16) {
      write(&cache, end - 16, end);
      if (end % 400 == 0) {
        // The token before the next one may be computed again, so a row more than its window stays.
        expect_rows(cache, 0, end - 100, end);
        expect_rows(cache, 1, end - 300, end);
      }
      // Pages go once 64 rows more than the windows have passed; at the ends of each matrix a page is shared.
      const int64_t kept = (100 + 300 + 2 * (64 + 16)) * 2 * cache.shape().row_bytes() + 2 * 4 * page();
      ASSERT_LE(cache.resident(), kept) << end;
    }
  }
}

TEST(KvCache, KnowsWhetherAContextIsStillThere) {
  MemoryAccount account;
  KvCache cache = KvCache::create(shape_of(CacheFormat::kFloat32, {100, 0}), &account).value();
  write(&cache, 0, 1000);
  EXPECT_TRUE(cache.holds_context_of(1000));
  EXPECT_TRUE(cache.holds_context_of(999));
  EXPECT_FALSE(cache.holds_context_of(500));
  cache.rewind();
  EXPECT_TRUE(cache.holds_context_of(0));
  write(&cache, 0, 1000);
  expect_rows(cache, 0, 900, 1000);
  expect_rows(cache, 1, 0, 1000);
}

TEST(KvCache, RowsBeyondALengthAreGivenBack) {
  MemoryAccount account;
  KvCache cache = KvCache::create(shape_of(CacheFormat::kFloat32, {0}), &account).value();
  write(&cache, 0, 1000);
  cache.truncate(200);
  expect_rows(cache, 0, 0, 200);
  EXPECT_LE(cache.resident(), 200 * cache.shape().token_bytes() + 2 * 2 * page());
  cache.truncate(0);
  EXPECT_EQ(cache.resident(), 0);
}

}  // namespace
}  // namespace pocketlora
