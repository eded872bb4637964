#include "common/status.h"

#include <gtest/gtest.h>

#include "common/result.h"

namespace pocketlora {
namespace {

Status fail_when(bool condition) { return condition ? error(PL_IO_READ, "%s is %d", "it", 7) : Status(); }

Result<int> half(int value) {
  if (value % 2 != 0) return error(PL_INVALID_ARGUMENT, "%d is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  PL_ASSIGN_OR_RETURN(const int once, half(value));
  PL_ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Status both(bool first, bool second) {
  PL_RETURN_IF_ERROR(fail_when(first));
  PL_RETURN_IF_ERROR(fail_when(second));
  return Status();
}

TEST(Status, CarriesCodeAndMessage) {
  EXPECT_TRUE(Status().ok());
  const Status status = fail_when(true);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), PL_IO_READ);
  EXPECT_EQ(status.message(), "it is 7");
}

TEST(Status, FormatsLongMessages) {
  const std::string text(10000, 'x');
  EXPECT_EQ(format("%s!", text.c_str()), text + "!");
}

TEST(Status, MacrosPassErrorsOn) {
  EXPECT_TRUE(both(false, false).ok());
  EXPECT_EQ(both(false, true).code(), PL_IO_READ);
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).status().message(), "3 is odd");
}

TEST(Status, NamesEveryCode) {
  EXPECT_STREQ(status_name(PL_OK), "OK");
  EXPECT_STREQ(status_name(PL_ADAPTER_OTHER_BASE), "ADAPTER_OTHER_BASE");
  EXPECT_STREQ(status_name(static_cast<pl_status>(999)), "UNKNOWN");
}

TEST(ProblemList, ListsAllProblems) {
  ProblemList problems;
  EXPECT_TRUE(problems.to_status(PL_INTERNAL, "x").ok());
  problems.add("one");
  problems.addf("%d", 2);
  EXPECT_EQ(problems.to_status(PL_BUNDLE_CORRUPT, "bad").message(), "bad\n  - one\n  - 2");
}

}  // namespace
}  // namespace pocketlora
