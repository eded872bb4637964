#include "optim/schedule.h"

#include <vector>

#include "common/test_support.h"

namespace pocketlora {
namespace {

std::vector<double> factors(const Schedule& schedule, int64_t count) {
  std::vector<double> found;
  for (int64_t step = 0; step < count; ++step) found.push_back(schedule.factor(step));
  return found;
}

void expect_factors(const Schedule& schedule, const std::vector<double>& expected) {
  const std::vector<double> found = factors(schedule, static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-15) << "step " << i;
}

// transformers 5.23: get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=6), learning rate 1.
TEST(Schedule, IsTransformers) {
  expect_factors({PL_SCHEDULE_CONSTANT, 2, 0}, {0, 0.5, 1, 1, 1, 1, 1, 1});
  expect_factors({PL_SCHEDULE_LINEAR, 2, 6}, {0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0});
  expect_factors({PL_SCHEDULE_COSINE, 2, 6}, {0, 0.5, 1, 0.8535533905932737, 0.5, 0.14644660940672627, 0, 0});
  expect_factors({PL_SCHEDULE_LINEAR, 0, 2}, {1, 0.5, 0});
}

TEST(Schedule, RefusesWhatIsNone) {
  EXPECT_TRUE(Schedule().check().ok());
  EXPECT_TRUE(fails_with(Schedule{PL_SCHEDULE_LINEAR, 0, 0}.check(), PL_INVALID_ARGUMENT, {"total_steps"}));
  EXPECT_TRUE(fails_with(Schedule{PL_SCHEDULE_COSINE, 5, 4}.check(), PL_INVALID_ARGUMENT, {"warmup_steps", "4"}));
  EXPECT_TRUE(fails_with(Schedule{static_cast<pl_schedule>(9), -1, -1}.check(), PL_INVALID_ARGUMENT,
                         {"pl_schedule", "warmup_steps", "total_steps"}));
}

}  // namespace
}  // namespace pocketlora
