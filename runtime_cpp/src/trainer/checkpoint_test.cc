#include "trainer/checkpoint.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "adapters/adapter_test_support.h"
#include "common/corruption_test_support.h"
#include "common/test_support.h"
#include "store/file_calls.h"
#include "trainer/checkpoint_folder.h"

namespace pocketlora {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRank = 2;

/// A training of which every step is known: parameters and state are functions of the step.
struct Training {
  std::shared_ptr<const AdapterLayout> layout = small_layout();
  std::shared_ptr<Adapter> adapter = Adapter::create(layout, kRank, 4, {}, 7).value();
  std::unique_ptr<Optimizer> optimizer = make_optimizer(PL_ADAMW_8BIT, {}, {{16, 256}, {3, 5}}).value();
  Json settings = {{"seed", 7}, {"rank", kRank}};

  void set(int64_t step) {
    const Span<float> parameters = adapter->tensors().parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] = static_cast<float>(std::sin(step * 31.0 + i));
    for (const StateVector& vector : optimizer->state()) {
      for (size_t i = 0; i < vector.nbytes(); ++i) vector.data[i] = static_cast<uint8_t>(step * 7 + i * 13);
    }
    optimizer->set_steps(step);
  }
  CheckpointSource source(int64_t step) {
    set(step);
    CheckpointSource source;
    source.state.step = source.state.optimizer_steps = step;
    source.state.tokens = 10 * step;
    source.adapter = adapter.get();
    source.optimizer = optimizer.get();
    source.settings = settings;
    source.user_state = "{\"row\": " + std::to_string(step) + "}";
    return source;
  }
  Status write(int64_t step, const std::string& dir, int64_t keep = 2) {
    return write_checkpoint(source(step), dir, keep).status();
  }
};

/// What is found in the folder, bit for bit that of the step that it names. @return the step, −1 = nothing.
int64_t found_step(const std::string& dir, Status* status = nullptr) {
  Training found;
  Training expected;
  found.set(1000);
  const Result<CheckpointContents> contents = read_checkpoint(dir, found.layout, found.settings, found.optimizer.get());
  if (status != nullptr) *status = contents.status();
  if (!contents.ok()) return -1;
  const int64_t step = contents.value().state.step;
  expected.set(step);
  const auto& a = contents.value().adapter;
  for (size_t i = 0; i < found.layout->sites.size(); ++i) {
    const auto count_a = static_cast<size_t>(kRank * found.layout->sites[i].in_features);
    const auto count_b = static_cast<size_t>(kRank * found.layout->sites[i].out_features);
    EXPECT_TRUE(std::equal(a->site(i).a, a->site(i).a + count_a, expected.adapter->site(i).a));
    EXPECT_TRUE(std::equal(a->site(i).b, a->site(i).b + count_b, expected.adapter->site(i).b));
  }
  for (size_t v = 0; v < found.optimizer->state().size(); ++v) {
    const StateVector& vector = found.optimizer->state()[v];
    EXPECT_TRUE(std::equal(vector.data, vector.data + vector.nbytes(), expected.optimizer->state()[v].data));
  }
  EXPECT_EQ(found.optimizer->steps(), step);
  EXPECT_EQ(contents.value().state.tokens, 10 * step);
  EXPECT_EQ(contents.value().facts.user_state, "{\"row\": " + std::to_string(step) + "}");
  return step;
}

/// While it lives, the n-th call that changes files fails with `code`, or ends the process.
class FaultAt {
 public:
  explicit FaultAt(int n, int code = 0) {
    calls_ = 0;
    at_ = n;
    code_ = code;
    file_calls::set_fault([](const char*, const char*) {
      if (calls_++ != at_) return 0;
      if (code_ == 0) ::kill(::getpid(), SIGKILL);
      return code_;
    });
  }
  ~FaultAt() { file_calls::set_fault(nullptr); }
  static int calls() { return calls_; }

 private:
  static int calls_, at_, code_;
};
int FaultAt::calls_ = 0;
int FaultAt::at_ = 0;
int FaultAt::code_ = 0;

/// A TempDir in memory where the machine has such a folder: thousands of fsyncs of a disk take minutes, and what a
/// killed process leaves is the same.
class FastDir {
 public:
  std::string operator/(const std::string& name) const { return *dir_ / name; }

 private:
  static std::unique_ptr<TempDir> make() {
    const char* found = std::getenv("TMPDIR");
    const std::string before = found == nullptr ? "" : found;
    if (::access("/dev/shm", W_OK | X_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 1);
    auto dir = std::make_unique<TempDir>();
    if (found == nullptr) {
      ::unsetenv("TMPDIR");
    } else {
      ::setenv("TMPDIR", before.c_str(), 1);
    }
    return dir;
  }
  std::unique_ptr<TempDir> dir_ = make();
};

int calls_of_one_write(const std::string& dir) {
  Training training;
  const FaultAt never(-1);
  EXPECT_TRUE(training.write(30, dir).ok());
  return FaultAt::calls();
}

TEST(Checkpoint, GivesBackWhatWasWritten) {
  const TempDir dir;
  Training training;
  Status status;
  EXPECT_EQ(found_step(dir / "none", &status), -1);
  EXPECT_EQ(status.code(), PL_INPUT_MISSING);
  ASSERT_TRUE(training.write(10, dir / "c").ok());
  EXPECT_EQ(found_step(dir / "c"), 10);
  ASSERT_TRUE(training.write(20, dir / "c").ok());
  ASSERT_TRUE(training.write(30, dir / "c").ok());
  EXPECT_EQ(found_step(dir / "c"), 30);
  EXPECT_FALSE(fs::exists(dir / "c/step-00000010"));
  EXPECT_TRUE(fs::exists(dir / "c/step-00000020"));
}

// Killed at every write (and in its middle), fsync, rename, mkdir and removal.
TEST(Checkpoint, AKillAtAnyCallLeavesAWholeOne) {
  const FastDir dir;
  Training training;
  ASSERT_TRUE(training.write(10, dir / "count").ok());
  ASSERT_TRUE(training.write(20, dir / "count").ok());
  const int calls = calls_of_one_write(dir / "count");
  ASSERT_GT(calls, 40);
  int old_ones = 0;
  for (int n = 0; n < calls; ++n) {
    const std::string folder = dir / ("c" + std::to_string(n));
    ASSERT_TRUE(training.write(10, folder).ok());
    ASSERT_TRUE(training.write(20, folder).ok());
    const pid_t child = ::fork();
    if (child == 0) {
      const FaultAt fault(n);
      (void)training.write(30, folder);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "call " << n;
    const int64_t step = found_step(folder);
    EXPECT_TRUE(step == 20 || step == 30) << "call " << n << " left " << step;
    old_ones += step == 20 ? 1 : 0;
    // The next one finds its way and cleans up.
    ASSERT_TRUE(training.write(40, folder).ok()) << "call " << n;
    EXPECT_EQ(found_step(folder), 40);
    for (const auto& entry : fs::directory_iterator(folder)) {
      EXPECT_EQ(entry.path().filename().string().find(".tmp-"), std::string::npos) << entry.path();
    }
    fs::remove_all(folder);
  }
  EXPECT_GT(old_ones, calls / 2);
  EXPECT_LT(old_ones, calls);
}

// The same calls, failing: a clear error, and the checkpoint before is as it was.
TEST(Checkpoint, AFailingCallLeavesTheOneBefore) {
  const FastDir dir;
  Training training;
  ASSERT_TRUE(training.write(10, dir / "count").ok());
  ASSERT_TRUE(training.write(20, dir / "count").ok());
  const int calls = calls_of_one_write(dir / "count");
  for (const int code : {ENOSPC, EIO, EROFS}) {
    int failures = 0;
    for (int n = 0; n < calls; ++n) {
      const std::string folder = dir / "c";
      ASSERT_TRUE(training.write(10, folder).ok());
      ASSERT_TRUE(training.write(20, folder).ok());
      Status status;
      {
        const FaultAt fault(n, code);
        status = training.write(30, folder);
      }
      if (!status.ok()) {
        ++failures;
        EXPECT_EQ(status.code(), code == ENOSPC ? PL_DISK_FULL : PL_IO_WRITE) << status.message();
        EXPECT_NE(status.message().find(folder), std::string::npos) << status.message();
      }
      const int64_t step = found_step(folder);
      EXPECT_TRUE(step == 30 || (!status.ok() && step == 20)) << "call " << n << ", found " << step;
      fs::remove_all(folder);
    }
    EXPECT_GT(failures, calls / 2);
  }
}

TEST(Checkpoint, IsDurableBeforeItHasItsName) {
  static std::vector<std::string> calls;
  const TempDir dir;
  Training training;
  ASSERT_TRUE(training.write(10, dir / "c").ok());
  calls.clear();
  file_calls::set_fault([](const char* call, const char* path) {
    calls.push_back(std::string(call) + " " + fs::path(path).filename().string());
    return 0;
  });
  ASSERT_TRUE(training.write(20, dir / "c").ok());
  file_calls::set_fault(nullptr);
  const auto named = std::find(calls.begin(), calls.end(), "rename step-00000020");
  ASSERT_NE(named, calls.end());
  for (const char* file : {"adapter_model.safetensors", "optimizer.safetensors", "training.json", "SHA256SUMS"}) {
    const auto synced = std::find(calls.begin(), named, std::string("fsync ") + file);
    const auto moved = std::find(calls.begin(), named, std::string("rename ") + file);
    EXPECT_LT(synced, moved) << file;
    EXPECT_NE(moved, named) << file;
  }
  EXPECT_NE(std::find(named, calls.end(), "fsync c"), calls.end());
  EXPECT_EQ((named - 1)->rfind("fsync step-00000020.tmp-", 0), 0U) << *(named - 1);
}

// Files changed, cut off, exchanged, taken away: each is noticed and named, and the one before is taken.
TEST(Checkpoint, RandomDamageIsFound) {
  const FastDir dir;
  Training training;
  const std::vector<Target> files = {
      {"README.md"},     {"adapter_config.json"}, {"adapter_model.safetensors"}, {"optimizer.safetensors"},
      {"training.json"}, {"SHA256SUMS"}};
  const std::string folder = dir / "c";
  for (uint64_t seed = 0; seed < 300; ++seed) {
    ASSERT_TRUE(training.write(10, folder).ok());
    ASSERT_TRUE(training.write(20, folder).ok());
    const Damage damage = Corruption(seed).apply(folder + "/step-00000020", files, folder + "/step-00000010");
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + damage.file + ", " + damage.what);
    // Files exchanged between the two damage both.
    const bool both = damage.kind == DamageKind::kSwappedFile;
    Status status;
    EXPECT_EQ(found_step(folder, &status), both ? -1 : 10);
    std::string message = status.message();
    if (both) {
      EXPECT_EQ(status.code(), PL_INPUT_MALFORMED);
    } else {
      message = read_checkpoint(folder, training.layout, training.settings, training.optimizer.get())
                    .value()
                    .facts.skipped.at(0);
    }
    // A damaged list may blame a file that it misnames.
    const bool list = damage.file == "SHA256SUMS";
    EXPECT_NE(message.find("step-00000020/" + (list ? std::string() : damage.file)), std::string::npos) << message;
    fs::remove_all(folder);
  }
}

TEST(Checkpoint, SaysWhatIsDamagedAndRefusesWhenAllAre) {
  const TempDir dir;
  Training training;
  ASSERT_TRUE(training.write(10, dir.path()).ok());
  ASSERT_TRUE(training.write(20, dir.path()).ok());
  write_text_file(dir / "step-00000020/training.json", "{");
  const Result<CheckpointContents> contents =
      read_checkpoint(dir.path(), training.layout, training.settings, training.optimizer.get());
  ASSERT_TRUE(contents.ok());
  ASSERT_EQ(contents.value().facts.skipped.size(), 1U);
  EXPECT_NE(contents.value().facts.skipped[0].find("step-00000020/training.json"), std::string::npos);
  fs::remove(dir / "step-00000010/SHA256SUMS");
  Status status;
  EXPECT_EQ(found_step(dir.path(), &status), -1);
  EXPECT_TRUE(fails_with(status, PL_INPUT_MALFORMED, {"step-00000010", "step-00000020", "every checkpoint"}));
  // What goes on at an earlier step replaces what lies beyond it.
  ASSERT_TRUE(training.write(15, dir.path()).ok());
  EXPECT_FALSE(fs::exists(dir / "step-00000020"));
}

TEST(Checkpoint, RefusesOtherSettings) {
  const TempDir dir;
  Training training;
  ASSERT_TRUE(training.write(10, dir.path()).ok());
  training.settings["seed"] = 8;
  training.settings["rank"] = 3;
  EXPECT_TRUE(
      fails_with(read_checkpoint(dir.path(), training.layout, training.settings, training.optimizer.get()).status(),
                 PL_INPUT_MISMATCH, {"seed: 7 in the checkpoint, 8 now", "rank: 2 in the checkpoint, 3 now"}));
}

TEST(Checkpoint, KeepsTheBestAdapterBesideTheLast) {
  const TempDir dir;
  Training training;
  CheckpointSource source = training.source(10);
  const std::shared_ptr<Adapter> best = Adapter::create(training.layout, kRank, 4, {}, 99).value();
  source.best = best;
  source.state.best = {3, 5, 1, 1.25};
  ASSERT_TRUE(write_checkpoint(source, dir.path(), 2).ok());
  const Result<CheckpointContents> contents =
      read_checkpoint(dir.path(), training.layout, training.settings, training.optimizer.get());
  ASSERT_TRUE(contents.ok()) << contents.status().message();
  EXPECT_EQ(contents.value().state.best.best_step, 5);
  EXPECT_EQ(contents.value().state.best.best_loss, 1.25);
  ASSERT_NE(contents.value().best, nullptr);
  EXPECT_NE(contents.value().best, contents.value().adapter);
  EXPECT_EQ(contents.value().best->site(0).a[0], best->site(0).a[0]);
}

}  // namespace
}  // namespace pocketlora
