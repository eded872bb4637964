/* pocketlora.h is C: this file compiles as C99 and calls what needs no bundle. */
#include <pocketlora/pocketlora.h>
#include <stdio.h>
#include <string.h>

static int expect(int condition, const char* what) {
  if (!condition) fprintf(stderr, "failed: %s\n", what);
  return condition ? 0 : 1;
}

int main(void) {
  int failures = 0;
  pl_engine* engine = NULL;
  pl_engine_options options;
  pl_trainer_options trainer_options;
  pl_engine_options_init(&options);
  pl_trainer_options_init(&trainer_options);
  failures += expect(pl_abi_version() == PL_ABI_VERSION, "library and header have the same ABI version");
  failures += expect(strlen(pl_version()) > 0, "the library has a version");
  failures += expect(options.struct_size == sizeof(options), "init sets struct_size");
  pl_engine_options_init_sized(&options, sizeof(size_t));
  failures += expect(options.struct_size == sizeof(size_t), "init writes what the caller has room for");
  pl_engine_options_init(&options);
  failures += expect(trainer_options.beta2 == 0.999f, "init sets defaults");
  failures += expect(strcmp(pl_status_name(PL_ADAPTER_MISMATCH), "ADAPTER_MISMATCH") == 0, "statuses have names");
  failures += expect(pl_engine_open(NULL, &options, &engine) == PL_INVALID_ARGUMENT, "a null folder is refused");
  failures += expect(pl_engine_open("/nonexistent/bundle", &options, &engine) == PL_BUNDLE_MISSING_FILE,
                     "a missing bundle is refused");
  failures += expect(strstr(pl_last_error(), "/nonexistent/bundle") != NULL, "the message names the bundle");
  failures += expect(engine == NULL, "out is only written on success");
  pl_engine_close(engine);
  return failures;
}
