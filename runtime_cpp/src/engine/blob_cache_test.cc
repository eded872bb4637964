#include "engine/blob_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "common/splitmix64.h"

namespace pocketlora {
namespace {

const auto kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

BlobCache::Key key_of(uint8_t name) {
  BlobCache::Key key{};
  key[0] = name;
  return key;
}

bool put(BlobCache* cache, uint8_t name, size_t size) {
  return cache->put(key_of(name), size, [&](uint8_t* data) { std::memset(data, name, size); });
}

bool holds(BlobCache* cache, uint8_t name, size_t size) {
  return cache->get(key_of(name), size, [&](const uint8_t* data) {
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(data[i], name) << i;
  });
}

TEST(BlobCache, TheOneUsedLongestAgoMakesRoom) {
  MemoryAccount account;
  const auto cache = BlobCache::create(static_cast<int64_t>(3 * kPage), &account, MemoryPart::kKvCache).value();
  EXPECT_TRUE(put(cache.get(), 1, kPage));
  EXPECT_TRUE(put(cache.get(), 2, kPage - 1));
  EXPECT_TRUE(put(cache.get(), 3, 1));
  EXPECT_TRUE(holds(cache.get(), 1, kPage));
  cache->touch(key_of(2));
  EXPECT_TRUE(put(cache.get(), 4, kPage));
  EXPECT_FALSE(holds(cache.get(), 3, 1));
  EXPECT_TRUE(holds(cache.get(), 1, kPage));
  EXPECT_TRUE(holds(cache.get(), 2, kPage - 1));
  EXPECT_TRUE(holds(cache.get(), 4, kPage));
  EXPECT_FALSE(holds(cache.get(), 4, kPage - 1)) << "another size is another thing";
}

TEST(BlobCache, WhatExceedsTheBudgetIsNotKeptAndEvictsNothing) {
  MemoryAccount account;
  const auto cache = BlobCache::create(static_cast<int64_t>(2 * kPage), &account, MemoryPart::kKvCache).value();
  EXPECT_TRUE(put(cache.get(), 1, kPage));
  EXPECT_FALSE(put(cache.get(), 2, 2 * kPage + 1));
  EXPECT_TRUE(holds(cache.get(), 1, kPage));
}

TEST(BlobCache, RandomSizesNeverOverlapAndStayWithinTheBudget) {
  constexpr size_t kPages = 16;
  MemoryAccount account;
  const auto cache = BlobCache::create(static_cast<int64_t>(kPages * kPage), &account, MemoryPart::kKvCache).value();
  SplitMix64 random(5);
  std::map<uint8_t, size_t> sizes;
  for (int round = 0; round < 2000; ++round) {
    const auto name = static_cast<uint8_t>(random.next() % 40);
    const size_t size = 1 + random.next() % (5 * kPage);
    if (!holds(cache.get(), name, sizes[name])) {
      ASSERT_TRUE(put(cache.get(), name, size));
      sizes[name] = size;
    }
    ASSERT_TRUE(holds(cache.get(), name, sizes[name]));
    ASSERT_LE(cache->used(), static_cast<int64_t>(kPages * kPage));
    ASSERT_LE(account.totals()[static_cast<size_t>(MemoryPart::kKvCache)], cache->used());
  }
  EXPECT_GT(cache->entries(), 2U);
}

}  // namespace
}  // namespace pocketlora
