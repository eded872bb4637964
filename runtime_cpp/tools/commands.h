#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "events.h"
#include "handles.h"

namespace pocketlora_run {

/// The bundle and how it is run: the same for every command.
struct BundleOptions {
  std::string bundle;
  std::string backend = "auto";
  int32_t threads = 0;
  bool verify = false;
  pl_self_test self_test = PL_SELF_TEST_AUTO;
  std::string state_dir;
  pl_weights weights = PL_WEIGHTS_AUTO;  ///< only `train` has options for these two
  int64_t memory_limit = 0;

  void add_to(CLI::App* command);
  Engine open() const;
};

pl_engine_info engine_info(const pl_engine* engine);
pl_memory engine_memory(const pl_engine* engine);
/// Every field of it, for the output.
Json memory_json(const pl_memory& memory);

/// Each adds one subcommand; parsing it runs nothing, its callback does.
void add_info(CLI::App* app);
void add_train(CLI::App* app);
void add_eval(CLI::App* app);
void add_generate(CLI::App* app);
void add_swap(CLI::App* app);
void add_tokenize(CLI::App* app);

}  // namespace pocketlora_run
