#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "capi/bundle_test_support.h"

namespace pocketlora {
namespace {

namespace fs = std::filesystem;

struct Told {
  pl_adapter_change change;
  std::string name;
  bool has_adapter;
  pl_status status;
  std::string message;
};

/// The parameter says whether the system may tell of changes.
class AdapterWatchTest : public BundleTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    if (IsSkipped()) return;
    folder_ = fs::path(::testing::TempDir()) / ("adapter_watch_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    first_ = train_adapter(1);
    second_ = train_adapter(2);
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  AdapterWatchHandle open() const {
    pl_adapter_watch_options options = adapter_watch_options();
    options.settle_ms = 30;
    options.interval_ms = 20;
    options.poll_only = GetParam() ? 0 : 1;
    Error problem;
    AdapterWatchHandle watch = watch_adapters(engine_.get(), folder_.string(), &options, &problem);
    EXPECT_TRUE(watch) << problem.message;
    return watch;
  }

  static std::vector<Told> poll(pl_adapter_watch* watch, int64_t timeout_ms) {
    std::vector<Told> told;
    const pl_adapter_callback collect = [](const pl_adapter_event* event, void* user) {
      static_cast<std::vector<Told>*>(user)->push_back(
          {event->change, event->name, event->adapter != nullptr, event->status, event->message});
    };
    EXPECT_PL_OK(pl_adapter_watch_poll(watch, timeout_ms, collect, &told));
    return told;
  }

  /// Exactly one thing is told, and soon enough.
  static Told only(pl_adapter_watch* watch) {
    std::vector<Told> told = poll(watch, 10000);
    EXPECT_EQ(told.size(), 1U);
    return told.empty() ? Told{} : told.front();
  }

  void save(const pl_adapter* adapter, const std::string& name) const {
    EXPECT_PL_OK(pl_adapter_save(adapter, (folder_ / name).c_str()));
  }

  AdapterHandle get(const pl_adapter_watch* watch, const char* name) const {
    pl_adapter* adapter = nullptr;
    (void)pl_adapter_watch_get(watch, name, &adapter);
    return AdapterHandle(adapter);
  }

  std::vector<float> logits(const pl_adapter* adapter) const {
    const SessionHandle session = new_session();
    EXPECT_FALSE(set_adapters(session.get(), {adapter}));
    std::vector<float> values = empty_logits();
    const std::vector<int64_t> tokens = some_tokens(6, 3);
    EXPECT_PL_OK(pl_session_prefill(session.get(), tokens.data(), tokens.size(), values.data()));
    return values;
  }

  fs::path folder_;
  AdapterHandle first_, second_;
};

INSTANTIATE_TEST_SUITE_P(All, AdapterWatchTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Notified" : "Polling"; });

TEST_P(AdapterWatchTest, AdaptersComeChangeAndGoWhileOneIsInUse) {
  save(first_.get(), "there");
  const AdapterWatchHandle watch = open();
  Told told = only(watch.get());
  EXPECT_EQ(told.change, PL_WATCH_ADDED);
  EXPECT_EQ(told.name, "there");
  EXPECT_TRUE(told.has_adapter);
  EXPECT_TRUE(poll(watch.get(), 0).empty()) << "everything is told once";

  save(second_.get(), "new");
  told = only(watch.get());
  EXPECT_EQ(told.change, PL_WATCH_ADDED);
  EXPECT_EQ(told.name, "new");
  EXPECT_EQ(logits(get(watch.get(), "new").get()), logits(second_.get()));

  const AdapterHandle old = get(watch.get(), "there");
  const std::vector<float> before = logits(old.get());
  EXPECT_EQ(before, logits(first_.get()));
  save(second_.get(), "there");
  told = only(watch.get());
  EXPECT_EQ(told.change, PL_WATCH_CHANGED);
  EXPECT_EQ(told.name, "there");
  EXPECT_EQ(logits(get(watch.get(), "there").get()), logits(second_.get()));
  EXPECT_EQ(logits(old.get()), before) << "who holds the old one keeps it";

  fs::remove_all(folder_ / "there");
  told = only(watch.get());
  EXPECT_EQ(told.change, PL_WATCH_REMOVED);
  EXPECT_TRUE(told.has_adapter);
  EXPECT_EQ(get(watch.get(), "there"), nullptr);
  EXPECT_EQ(logits(old.get()), before);
}

TEST_P(AdapterWatchTest, ABrokenAdapterIsToldWithItsReasonAndReplacesNothing) {
  save(first_.get(), "a");
  const AdapterWatchHandle watch = open();
  EXPECT_EQ(only(watch.get()).change, PL_WATCH_ADDED);
  const fs::path tensors = folder_ / "a" / "adapter_model.safetensors";
  fs::resize_file(tensors, fs::file_size(tensors) / 2);
  const Told told = only(watch.get());
  EXPECT_EQ(told.change, PL_WATCH_REJECTED);
  EXPECT_EQ(told.status, PL_ADAPTER_CORRUPT);
  EXPECT_NE(told.message.find("adapter_model.safetensors"), std::string::npos) << told.message;
  EXPECT_TRUE(told.has_adapter);
  EXPECT_EQ(logits(get(watch.get(), "a").get()), logits(first_.get()));
  EXPECT_TRUE(poll(watch.get(), 100).empty()) << "a broken one is told once";
  save(second_.get(), "a");
  EXPECT_EQ(only(watch.get()).change, PL_WATCH_CHANGED);
  EXPECT_EQ(logits(get(watch.get(), "a").get()), logits(second_.get()));
}

TEST_P(AdapterWatchTest, WhatIsStillBeingWrittenIsNotTaken) {
  save(first_.get(), "source");
  const fs::path source = folder_ / "source";
  const fs::path hidden = folder_.string() + "_source";
  fs::rename(source, hidden);
  const AdapterWatchHandle watch = open();
  // A writer's temporary folder, a file without the other, and a folder that is not an adapter's.
  fs::copy(hidden, folder_ / "b.tmp-17-0");
  fs::create_directories(folder_ / "half");
  fs::copy(hidden / "adapter_config.json", folder_ / "half" / "adapter_config.json");
  fs::create_directories(folder_ / "empty");
  EXPECT_TRUE(poll(watch.get(), 150).empty());
  // A file that grows: taken when it has come to rest, never before.
  std::ifstream input(hidden / "adapter_model.safetensors", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
  std::atomic<bool> written{false};
  std::thread writer([&] {
    std::ofstream output(folder_ / "half" / "adapter_model.safetensors", std::ios::binary);
    for (size_t part = 0; part < 20; ++part) {
      const size_t begin = bytes.size() * part / 20, end = bytes.size() * (part + 1) / 20;
      output.write(bytes.data() + begin, static_cast<std::streamsize>(end - begin)).flush();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    written = true;
  });
  const Told told = only(watch.get());
  EXPECT_TRUE(written);
  writer.join();
  EXPECT_EQ(told.change, PL_WATCH_ADDED) << told.message;
  EXPECT_EQ(told.name, "half");
  fs::rename(folder_ / "b.tmp-17-0", folder_ / "b");
  EXPECT_EQ(only(watch.get()).name, "b");
  fs::remove_all(hidden);
}

TEST_P(AdapterWatchTest, TellsWhatIsWrongWithItsArguments) {
  pl_adapter_watch* out = nullptr;
  EXPECT_EQ(pl_adapter_watch_open(engine_.get(), (folder_ / "absent").c_str(), nullptr, &out), PL_INPUT_MISSING);
  pl_adapter_watch_options options = adapter_watch_options();
  options.settle_ms = -1;
  EXPECT_EQ(pl_adapter_watch_open(engine_.get(), folder_.c_str(), &options, &out), PL_INVALID_ARGUMENT);
  EXPECT_EQ(out, nullptr);
  const AdapterWatchHandle watch = open();
  pl_adapter* adapter = nullptr;
  EXPECT_EQ(pl_adapter_watch_get(watch.get(), "none", &adapter), PL_ADAPTER_MISSING_FILE);
  fs::remove_all(folder_);
  EXPECT_EQ(pl_adapter_watch_poll(watch.get(), 0, nullptr, nullptr), PL_INPUT_MISSING);
}

}  // namespace
}  // namespace pocketlora
