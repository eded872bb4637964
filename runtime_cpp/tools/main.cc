// pocketlora_run: the runtime from a shell, with no Python on the machine. Token ids in and out,
// texts where the bundle has a compact tokenizer; JSON lines on stdout
// (docs/events.md), text for people on stderr, exit codes by docs/errors.md.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "commands.h"
#include "events.h"
#include "interrupt.h"

namespace pocketlora_run {
namespace {

constexpr int kInterruptedExitCode = 130;

int fail(pl_status code, const std::string& message, int exit_status) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  try {
    print_event("error", {{"code", static_cast<int>(code)}, {"name", pl_status_name(code)}, {"message", message}});
  } catch (const ToolError&) {
    // stdout is gone; stderr and the exit code have said it.
  }
  return exit_status;
}

// Options may be written with - or _, as in Python.
std::string with_dashes(std::string argument) {
  if (argument.rfind("--", 0) != 0) return argument;
  const size_t end = std::min(argument.find('='), argument.size());
  std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  return argument;
}

// CLI11 says "A subcommand is required" for a misspelt one as well.
void check_command(const CLI::App& app, int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  std::string known;
  bool found = !first.empty() && first[0] == '-';
  for (const CLI::App* command : app.get_subcommands({})) {
    known += (known.empty() ? "" : ", ") + command->get_name();
    found = found || command->get_name() == first;
  }
  if (found) return;
  throw ToolError(PL_INVALID_ARGUMENT, first.empty() ? "expected a command: " + known + "; see --help"
                                                     : "unknown command '" + first + "'; expected one of " + known);
}

int run(int argc, char** argv) {
  CLI::App app("Train and run LoRA adapters over a PocketLoRA bundle", "pocketlora_run");
  app.set_version_flag("--version", pl_version());
  app.require_subcommand(1);
  add_info(&app);
  add_train(&app);
  add_eval(&app);
  add_generate(&app);
  add_swap(&app);
  add_tokenize(&app);
  // CLI11 takes its arguments from the back.
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) arguments.push_back(with_dashes(argv[i]));
  try {
    check_command(app, argc, argv);
    app.parse(arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return fail(PL_INVALID_ARGUMENT, error.what(), exit_code(PL_INVALID_ARGUMENT));
  } catch (const ToolError& error) {
    return fail(error.code(), error.what(), exit_code(error.code()));
  } catch (const Interrupted&) {
    return fail(PL_CANCELLED, "interrupted; nothing was written", kInterruptedExitCode);
  } catch (const std::bad_alloc&) {
    return fail(PL_OUT_OF_MEMORY, "no memory", exit_code(PL_OUT_OF_MEMORY));
  } catch (const std::exception& error) {
    return fail(PL_INTERNAL, error.what(), exit_code(PL_INTERNAL));
  }
}

}  // namespace
}  // namespace pocketlora_run

// NOLINTNEXTLINE(bugprone-exception-escape): only a message about no memory could find no memory.
int main(int argc, char** argv) {
  pocketlora_run::catch_interrupts();
  return pocketlora_run::run(argc, argv);
}
