#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "handles.h"

namespace pocketlora_run {

/// The bundle and how it is run: the same for every command.
struct BundleOptions {
  std::string bundle;
  std::string backend = "cpu";
  int32_t threads = 0;
  bool verify = false;

  void add_to(CLI::App* command);
  Engine open() const;
};

pl_engine_info engine_info(const pl_engine* engine);
pl_memory engine_memory(const pl_engine* engine);

/// Each adds one subcommand; parsing it runs nothing, its callback does.
void add_info(CLI::App* app);
void add_train(CLI::App* app);
void add_eval(CLI::App* app);
void add_generate(CLI::App* app);
void add_swap(CLI::App* app);

}  // namespace pocketlora_run
