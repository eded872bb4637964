#include "capi/capi.h"
#include "capi/trainer_reports.h"
#include "engine/backends.h"
#include "engine/proc_memory.h"
#include "kernels/common/scratch.h"
#include "selftest/checked_open.h"
#include "selftest/recorded_step.h"
#include "selftest/recorded_step_file.h"
#include "store/atomic_file.h"
#include "trainer/evaluate.h"

using pocketlora::check_output_struct;
using pocketlora::Engine;
using pocketlora::MemoryPart;
using pocketlora::read_struct;
using pocketlora::report;
using pocketlora::Span;
using pocketlora::write_struct;

void pl_engine_options_init_sized(pl_engine_options* options, size_t struct_size) {
  pocketlora::write_defaults(pl_engine_options{}, options, struct_size);
}

pl_status pl_engine_open(const char* bundle_dir, const pl_engine_options* options, pl_engine** out) {
  PL_C_REQUIRE(bundle_dir);
  PL_C_REQUIRE(out);
  pl_engine_options given;
  pl_engine_options_init(&given);
  PL_C_TRY(read_struct(options, "options", &given));
  pocketlora::EngineOptions engine_options;
  if (given.backend != nullptr) engine_options.backend = given.backend;
  engine_options.num_threads = given.num_threads;
  engine_options.verify_base = given.verify_base != 0;
  engine_options.weights = given.weights;
  engine_options.memory_limit = given.memory_limit;
  engine_options.prefix_cache_bytes = given.prefix_cache_bytes;
  const pocketlora::SelfTestPolicy policy = {given.self_test, given.state_dir == nullptr ? "" : given.state_dir};
  PL_C_ASSIGN(auto opened, pocketlora::open_checked(bundle_dir, engine_options, policy));
  *out = new pl_engine{std::move(opened.engine), std::move(opened.note)};
  return PL_OK;
}

void pl_engine_close(pl_engine* engine) { delete engine; }

pl_status pl_engine_get_info(const pl_engine* engine, pl_engine_info* info) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(info);
  const pocketlora::Manifest& manifest = engine->engine->manifest();
  pl_engine_info facts = {};
  facts.vocab_size = manifest.model.vocab_size;
  facts.hidden_size = manifest.model.hidden_size;
  facts.num_layers = manifest.model.num_layers;
  facts.max_seq_len = manifest.limits.max_seq_len;
  facts.train_t_max = manifest.limits.train_t_max;
  facts.prefill_t_max = manifest.limits.prefill_t_max;
  facts.max_rank = manifest.limits.max_rank;
  facts.max_segments = manifest.limits.max_segments;
  facts.bos_token_id = manifest.model.bos_token_id;
  facts.base_sha256 = manifest.adapter.base_sha256.c_str();
  facts.manifest_json = manifest.text.c_str();
  facts.backend = engine->engine->backend().c_str();
  facts.backend_note = engine->backend_note.c_str();
  return report(write_struct(facts, "info", info));
}

pl_status pl_engine_self_test(pl_engine* engine) {
  PL_C_REQUIRE(engine);
  return report(pocketlora::check_engine(engine->engine));
}

pl_status pl_engine_record_self_test(pl_engine* engine, const char* path) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(path);
  pocketlora::SelfTestRecord record{pocketlora::self_test_input(engine->engine->manifest()), {}};
  PL_C_ASSIGN(record.outcome, pocketlora::run_self_test(engine->engine, record.input));
  return report(pocketlora::write_whole_file(path, pocketlora::self_test_text(record)));
}

const char* pl_available_delegates(void) {
  thread_local std::string text;
  text.clear();
  for (const std::string& name : pocketlora::available_delegates()) text += (text.empty() ? "" : ",") + name;
  return text.c_str();
}

const char* pl_executorch_version(void) { return pocketlora::executorch_version(); }

pl_status pl_engine_get_memory(const pl_engine* engine, pl_memory* memory) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(memory);
  const pocketlora::MappedFile& base = engine->engine->base().file();
  const auto process = pocketlora::read_process_memory();
  const auto mapping = pocketlora::read_mapping_memory(base.data(), base.size());
  pl_memory found = {};
  pocketlora::fill_parts(engine->engine->account().totals(), &found);
  found.scratch += pocketlora::scratch_bytes_in_use();
  found.rss_anon = process.rss_anon;
  found.rss_file = process.rss_file;
  found.unexplained = process.rss_anon - (found.arena + found.block_inputs + found.adapter + found.gradients +
                                          found.optimizer + found.kv_cache + found.scratch + found.other);
  found.base_private_dirty = mapping.private_dirty;
  found.base_resident = mapping.resident;
  found.peak = engine->engine->account().peak() + pocketlora::scratch_bytes_peak();
  return report(write_struct(found, "memory", memory));
}

pl_status pl_engine_evaluate(pl_engine* engine, const pl_adapter_ref* refs, size_t n, const pl_batch* batch,
                             float* logprobs, pl_eval_report* report_out) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(batch);
  PL_C_TRY(check_output_struct(report_out, "report"));
  PL_C_ASSIGN(auto adapters, pocketlora::weighted_adapters(refs, n));
  PL_C_ASSIGN(const auto view, pocketlora::batch_view(*batch, "batch"));
  const Span<float> out = logprobs == nullptr ? Span<float>() : Span<float>(logprobs, view.tokens.size());
  PL_C_ASSIGN(const auto result, evaluate(engine->engine.get(), std::move(adapters), view, out));
  if (report_out == nullptr) return PL_OK;
  pl_eval_report facts = {};
  facts.sum_nll = result.sum_nll;
  facts.num_labels = result.num_labels;
  facts.num_tokens = result.num_tokens;
  facts.seconds = result.seconds;
  return report(write_struct(facts, "report", report_out));
}
