#include "engine/memory_account.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <utility>

namespace pocketlora {
namespace {

int64_t total(const MemoryAccount& account, MemoryPart part) { return account.totals()[static_cast<size_t>(part)]; }

TEST(MemoryAccount, ChargesEndWithTheirScope) {
  MemoryAccount account;
  {
    MemoryCharge first(&account, MemoryPart::kAdapter, 100);
    MemoryCharge second = std::move(first);
    EXPECT_EQ(total(account, MemoryPart::kAdapter), 100);
    second = MemoryCharge(&account, MemoryPart::kAdapter, 30);
    EXPECT_EQ(total(account, MemoryPart::kAdapter), 30);
  }
  EXPECT_EQ(total(account, MemoryPart::kAdapter), 0);
}

TEST(MemoryAccount, ReservedMemoryCountsWhereItIsTouched) {
  MemoryAccount account;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  {
    const ReservedBuffer buffer = ReservedBuffer::reserve(64 * page, &account, MemoryPart::kKvCache).value();
    EXPECT_EQ(buffer.size(), 64 * page);
    EXPECT_EQ(total(account, MemoryPart::kKvCache), 0);
    buffer.data()[3 * page] = 1;
    // A system may back it with larger pages than asked for, never with none.
    EXPECT_GE(total(account, MemoryPart::kKvCache), static_cast<int64_t>(page));
    EXPECT_EQ(buffer.data()[5 * page], 0);
  }
  EXPECT_EQ(total(account, MemoryPart::kKvCache), 0);
}

TEST(MemoryAccount, ThePeakIsTheLargestSumOfTheParts) {
  MemoryAccount account;
  const auto page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
  {
    const MemoryCharge charge(&account, MemoryPart::kAdapter, 100);
    const ReservedBuffer buffer =
        ReservedBuffer::reserve(static_cast<size_t>(8 * page), &account, MemoryPart::kArena).value();
    for (int64_t i = 0; i < 8; ++i) buffer.data()[i * page] = 1;
  }  // nobody asked before both were gone
  EXPECT_EQ(account.peak(), 8 * page + 100);
  const MemoryCharge less(&account, MemoryPart::kOther, 50);
  EXPECT_EQ(account.peak(), 8 * page + 100);
  const MemoryCharge more(&account, MemoryPart::kOther, 9 * page);
  EXPECT_EQ(account.peak(), 9 * page + 50);
}

TEST(MemoryAccount, RefusesWhatCannotBeReserved) {
  MemoryAccount account;
  const Result<ReservedBuffer> buffer = ReservedBuffer::reserve(size_t{1} << 62, &account, MemoryPart::kArena);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), PL_OUT_OF_MEMORY);
}

}  // namespace
}  // namespace pocketlora
