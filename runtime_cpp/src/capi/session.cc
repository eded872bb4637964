#include <cstring>

#include "capi/capi.h"
#include "capi/compute.h"
#include "session/generate.h"

using pocketlora::Session;
using pocketlora::Span;
using pocketlora::Status;

namespace {

Status extend(Session* session, Span<const int64_t> tokens, float* logits) {
  if (tokens.empty()) return pocketlora::error(PL_INVALID_ARGUMENT, "there are no tokens to append");
  if (logits == nullptr) return session->prefill(tokens);
  PL_ASSIGN_OR_RETURN(const Span<const float> values, session->extend(tokens));
  std::memcpy(logits, values.data(), values.size() * sizeof(float));
  return Status();
}

pocketlora::Result<pocketlora::GenerateOptions> read_options(const Session& session, const pl_generate_options* given) {
  pl_generate_options c;
  pl_generate_options_init(&c);
  PL_RETURN_IF_ERROR(pocketlora::read_struct(given, "options", &c));
  if (c.stop_tokens == nullptr && c.num_stop_tokens > 0) {
    return pocketlora::error(PL_INVALID_ARGUMENT, "options.stop_tokens must not be null when num_stop_tokens is %zu",
                             c.num_stop_tokens);
  }
  pocketlora::GenerateOptions options;
  options.max_new_tokens = c.max_new_tokens;
  options.sampling = {c.temperature, c.top_p, c.seed, c.top_k, c.min_p, c.repetition_penalty};
  if (c.stop_tokens != nullptr) {
    options.stop_tokens.assign(c.stop_tokens, c.stop_tokens + c.num_stop_tokens);
  } else {
    options.stop_tokens = session.engine().manifest().model.eos_token_ids;
  }
  return options;
}

pocketlora::Result<pocketlora::SessionOptions> read_session_options(const pl_session_options& given) {
  static_assert(PL_CACHE_FLOAT32 == static_cast<int>(pocketlora::CacheFormat::kFloat32), "one numbering");
  static_assert(PL_CACHE_FLOAT16 == static_cast<int>(pocketlora::CacheFormat::kFloat16), "one numbering");
  static_assert(PL_CACHE_INT8 == static_cast<int>(pocketlora::CacheFormat::kInt8), "one numbering");
  if (given.cache_dtype < PL_CACHE_FLOAT32 || given.cache_dtype > PL_CACHE_AUTO) {
    return pocketlora::error(PL_INVALID_ARGUMENT, "cache_dtype: expected a pl_cache_dtype, found %d",
                             static_cast<int>(given.cache_dtype));
  }
  pocketlora::SessionOptions options;
  options.context_length = given.context_length;
  options.cache_format = std::nullopt;
  if (given.cache_dtype != PL_CACHE_AUTO) {
    options.cache_format = static_cast<pocketlora::CacheFormat>(given.cache_dtype);
  }
  PL_ASSIGN_OR_RETURN(options.compute, pocketlora::read_compute(given.compute));
  return options;
}

}  // namespace

void pl_session_options_init_sized(pl_session_options* options, size_t struct_size) {
  pl_session_options defaults = {};
  defaults.compute = PL_COMPUTE_AUTO;
  pocketlora::write_defaults(defaults, options, struct_size);
}

void pl_generate_options_init_sized(pl_generate_options* options, size_t struct_size) {
  pl_generate_options defaults = {};
  defaults.max_new_tokens = pocketlora::GenerateOptions().max_new_tokens;
  defaults.top_p = 1.0F;
  defaults.repetition_penalty = 1.0F;
  pocketlora::write_defaults(defaults, options, struct_size);
}

pl_status pl_session_create(pl_engine* engine, const pl_session_options* options, pl_session** out) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(out);
  pl_session_options given;
  pl_session_options_init(&given);
  PL_C_TRY(pocketlora::read_struct(options, "options", &given));
  PL_C_ASSIGN(const auto wanted, read_session_options(given));
  PL_C_ASSIGN(auto session, Session::create(engine->engine, wanted));
  *out = new pl_session{std::move(session)};
  return PL_OK;
}

void pl_session_free(pl_session* session) { delete session; }

pl_status pl_session_set_adapters(pl_session* session, const pl_adapter_ref* refs, size_t n) {
  PL_C_REQUIRE(session);
  PL_C_ASSIGN(auto adapters, pocketlora::weighted_adapters(refs, n));
  return pocketlora::report(session->session->set_adapters(std::move(adapters)));
}

pl_status pl_session_reset(pl_session* session) {
  PL_C_REQUIRE(session);
  session->session->reset();
  return PL_OK;
}

pl_status pl_session_truncate(pl_session* session, int64_t length) {
  PL_C_REQUIRE(session);
  return pocketlora::report(session->session->truncate(length));
}

pl_status pl_session_fork(const pl_session* session, pl_session** out) {
  PL_C_REQUIRE(session);
  PL_C_REQUIRE(out);
  PL_C_ASSIGN(auto copy, session->session->fork());
  *out = new pl_session{std::move(copy)};
  return PL_OK;
}

pl_status pl_session_cancel(pl_session* session) {
  PL_C_REQUIRE(session);
  session->session->cancel();
  return PL_OK;
}

pl_status pl_session_get_info(const pl_session* session, pl_session_info* info) {
  PL_C_REQUIRE(session);
  const pocketlora::KvCache& cache = session->session->cache();
  pl_session_info facts = {};
  facts.context_length = session->session->capacity();
  facts.length = session->session->length();
  facts.cache_dtype = static_cast<pl_cache_dtype>(cache.shape().format);
  facts.bytes_per_token = cache.shape().token_bytes();
  facts.cache_resident = cache.resident();
  facts.compute = static_cast<pl_compute>(session->session->compute());
  facts.copied_tokens = session->session->copied_tokens();
  facts.decode_compute = pocketlora::computed_here(session->session->compute(), 1);
  facts.prefill_compute = pocketlora::computed_here(session->session->compute(), pocketlora::kFewRows + 1);
  return pocketlora::report(pocketlora::write_struct(facts, "info", info));
}

int64_t pl_session_length(const pl_session* session) { return session == nullptr ? 0 : session->session->length(); }

pl_status pl_session_prefill(pl_session* session, const int64_t* tokens, size_t n, float* logits) {
  PL_C_REQUIRE(session);
  PL_C_REQUIRE(tokens);
  return pocketlora::report(extend(session->session.get(), Span<const int64_t>(tokens, n), logits));
}

pl_status pl_session_decode(pl_session* session, int64_t token, float* logits) {
  PL_C_REQUIRE(session);
  return pocketlora::report(extend(session->session.get(), Span<const int64_t>(&token, 1), logits));
}

pl_status pl_session_generate(pl_session* session, const int64_t* prompt, size_t n, const pl_generate_options* options,
                              pl_token_callback callback, void* user, pl_generate_report* report_out) {
  PL_C_REQUIRE(session);
  if (n > 0) PL_C_REQUIRE(prompt);
  PL_C_TRY(pocketlora::check_output_struct(report_out, "report"));
  PL_C_ASSIGN(const auto read, read_options(*session->session, options));
  const auto sink = [callback, user](int64_t token) { return callback == nullptr || callback(token, user) == 0; };
  PL_C_ASSIGN(const auto result, generate(session->session.get(), Span<const int64_t>(prompt, n), read, sink));
  if (report_out == nullptr) return PL_OK;
  pl_generate_report facts = {};
  facts.prompt_tokens = result.prompt_tokens;
  facts.new_tokens = result.new_tokens;
  facts.prefill_seconds = result.prefill_seconds;
  facts.decode_seconds = result.decode_seconds;
  facts.stop_reason = static_cast<int32_t>(result.stop_reason);
  return pocketlora::report(pocketlora::write_struct(facts, "report", report_out));
}
