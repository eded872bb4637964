#include <cstdio>
#include <map>

#include "commands.h"
#include "validators.h"

namespace pocketlora_run {
namespace {

const std::map<std::string, pl_self_test> kSelfTests = {
    {"auto", PL_SELF_TEST_AUTO}, {"never", PL_SELF_TEST_NEVER}, {"always", PL_SELF_TEST_ALWAYS}};

}  // namespace

void BundleOptions::add_to(CLI::App* command) {
  command->add_option("BUNDLE", bundle, "Folder of the bundle")->required();
  command->add_option("--backend", backend, "Which programs of the bundle to run; auto: the first that can run here")
      ->capture_default_str();
  command->add_option("--threads", threads, "Number of threads; 0 = all cores")
      ->capture_default_str()
      ->check(not_negative());
  command
      ->add_option("--self-test", self_test,
                   "When to compute the bundle's recorded step first: auto (programs with delegates), never, always")
      ->transform(CLI::CheckedTransformer(kSelfTests));
  command->add_option("--state-dir", state_dir, "Folder that remembers its outcome");
  command->add_flag("--verify", verify, "Hash the base while opening");
}

Engine BundleOptions::open() const {
  pl_engine_options options;
  pl_engine_options_init(&options);
  options.backend = backend.c_str();
  options.num_threads = threads;
  options.verify_base = verify ? 1 : 0;
  options.weights = weights;
  options.memory_limit = memory_limit;
  options.self_test = self_test;
  if (!state_dir.empty()) options.state_dir = state_dir.c_str();
  pl_engine* opened = nullptr;
  check(pl_engine_open(bundle.c_str(), &options, &opened));
  Engine engine(opened);
  const std::string note = engine_info(engine.get()).backend_note;
  if (!note.empty()) std::fprintf(stderr, "warning: %s\n", note.c_str());
  return engine;
}

pl_engine_info engine_info(const pl_engine* engine) {
  pl_engine_info info = {};
  info.struct_size = sizeof(info);
  check(pl_engine_get_info(engine, &info));
  return info;
}

pl_memory engine_memory(const pl_engine* engine) {
  pl_memory memory = {};
  memory.struct_size = sizeof(memory);
  check(pl_engine_get_memory(engine, &memory));
  return memory;
}

Json memory_json(const pl_memory& m) {
  return {{"arena", m.arena},
          {"block_inputs", m.block_inputs},
          {"adapter", m.adapter},
          {"gradients", m.gradients},
          {"optimizer", m.optimizer},
          {"kv_cache", m.kv_cache},
          {"scratch", m.scratch},
          {"other", m.other},
          {"rss_anon", m.rss_anon},
          {"rss_file", m.rss_file},
          {"unexplained", m.unexplained},
          {"base_private_dirty", m.base_private_dirty},
          {"base_resident", m.base_resident},
          {"peak", m.peak}};
}

}  // namespace pocketlora_run
