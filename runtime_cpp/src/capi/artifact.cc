#include <algorithm>

#include "capi/capi.h"
#include "store/sha256.h"

void pl_artifact_options_init_sized(pl_artifact_options* options, size_t struct_size) {
  pocketlora::write_defaults(pl_artifact_options{}, options, struct_size);
}

pl_status pl_trainer_log_event(pl_trainer* trainer, const char* line) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(line);
  return pocketlora::report(trainer->trainer->metrics().add(line));
}

pl_status pl_trainer_save_artifact(const pl_trainer* trainer, const char* dir, const pl_artifact_options* options) {
  PL_C_REQUIRE(trainer);
  PL_C_REQUIRE(dir);
  pl_artifact_options read;
  pl_artifact_options_init(&read);
  PL_C_TRY(pocketlora::read_struct(options, "options", &read));
  const char* run = read.run_json == nullptr ? "{}" : read.run_json;
  return pocketlora::report(trainer->trainer->save_artifact(dir, read.best != 0, run, pl_version()));
}

pl_status pl_engine_verify_base(const pl_engine* engine) {
  PL_C_REQUIRE(engine);
  return pocketlora::report(engine->engine->verify_base());
}

pl_status pl_file_sha256(const char* path, char* hex) {
  PL_C_REQUIRE(path);
  PL_C_REQUIRE(hex);
  PL_C_ASSIGN(const std::string found, pocketlora::sha256_file(path, PL_INPUT_MISSING));
  std::copy_n(found.c_str(), found.size() + 1, hex);
  return PL_OK;
}
