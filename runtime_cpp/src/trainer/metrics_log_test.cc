#include "trainer/metrics_log.h"

#include "common/test_support.h"

namespace pocketlora {
namespace {

std::string progress(int step, const std::string& loss) {
  return R"({"event": "progress", "step": )" + std::to_string(step) + R"(, "loss": )" + loss + "}";
}

std::string validation(int step, const std::string& loss) {
  return R"({"event": "validation", "step": )" + std::to_string(step) + R"(, "loss": )" + loss +
         R"(, "perplexity": 2.5})";
}

TEST(MetricsLog, KeepsLinesAsTheyAreAndSumsThemUp) {
  MetricsLog log;
  EXPECT_TRUE(log.empty());
  for (const std::string& line :
       {validation(0, "4.5"), progress(1, "5.0"), validation(1, "3.5"), progress(2, "2.25"), validation(2, "null")}) {
    const Status status = log.add(line);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  EXPECT_EQ(log.text(), validation(0, "4.5") + "\n" + progress(1, "5.0") + "\n" + validation(1, "3.5") + "\n" +
                            progress(2, "2.25") + "\n" + validation(2, "null") + "\n");
  const nlohmann::ordered_json found = log.summary();
  EXPECT_EQ(found["first_loss"], 5.0);
  EXPECT_EQ(found["last_loss"], 2.25);
  EXPECT_EQ(found["first_validation"]["step"], 0);
  EXPECT_EQ(found["best_validation"]["step"], 1);
  EXPECT_EQ(found["last_validation"]["step"], 2);
  EXPECT_TRUE(found["last_validation"]["loss"].is_null());
}

TEST(MetricsLog, RefusesWhatIsNoEventAndAStepThatWasThere) {
  MetricsLog log;
  EXPECT_TRUE(fails_with(log.add("{"), PL_INVALID_ARGUMENT, {"not valid JSON"}));
  EXPECT_TRUE(fails_with(log.add("{}"), PL_INVALID_ARGUMENT, {"event"}));
  EXPECT_TRUE(fails_with(log.add("{}\n{}"), PL_INVALID_ARGUMENT, {"one line"}));
  EXPECT_TRUE(fails_with(log.add(R"({"event": "progress"})"), PL_INVALID_ARGUMENT, {"step"}));
  ASSERT_TRUE(log.add(progress(2, "1.0")).ok());
  EXPECT_TRUE(fails_with(log.add(progress(2, "1.0")), PL_INVALID_ARGUMENT, {"step", "3", "found 2"}));
  EXPECT_EQ(log.text(), progress(2, "1.0") + "\n");
}

TEST(MetricsLog, IsRestoredWholeOrNotAtAll) {
  MetricsLog log;
  ASSERT_TRUE(log.restore(progress(1, "1.5") + "\n" + progress(2, "1.0") + "\n", "f").ok());
  EXPECT_EQ(log.summary()["first_loss"], 1.5);
  const std::string before = log.text();
  EXPECT_TRUE(fails_with(log.restore(progress(1, "1.5") + "\nx\n", "f.jsonl"), PL_INPUT_MALFORMED, {"f.jsonl:2:"}));
  EXPECT_EQ(log.text(), before);
  ASSERT_TRUE(log.add(progress(3, "0.5")).ok());
  ASSERT_TRUE(log.restore("", "f").ok());
  EXPECT_TRUE(log.empty());
  EXPECT_TRUE(log.add(progress(1, "1.5")).ok());
}

}  // namespace
}  // namespace pocketlora
