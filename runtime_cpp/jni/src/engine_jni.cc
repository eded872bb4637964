// Native methods of Engine and Adapter.
#include "jni_support.h"

using pocketlora_jni::Batches;
using pocketlora_jni::Bytes;
using pocketlora_jni::from_java;
using pocketlora_jni::new_object;
using pocketlora_jni::Options;
using pocketlora_jni::sized;
using pocketlora_jni::succeeded;
using pocketlora_jni::to_java;

PL_JNI(jlong, Engine, nativeOpen)(JNIEnv* env, jclass, jbyteArray bundle, jobject given) {
  pl_engine_options options;
  pl_engine_options_init(&options);
  Options read(env, given);
  options.backend = read.text("backend");
  read.number("numThreads", &options.num_threads);
  read.number("verifyBase", &options.verify_base);
  int32_t weights = options.weights, self_test = options.self_test;
  read.number("weights", &weights);
  read.number("selfTest", &self_test);
  options.weights = static_cast<pl_weights>(weights);
  options.self_test = static_cast<pl_self_test>(self_test);
  options.state_dir = read.text("stateDir");
  read.number("memoryLimit", &options.memory_limit);
  read.number("prefixCacheBytes", &options.prefix_cache_bytes);
  if (!succeeded(env, PL_OK)) return 0;
  pl_engine* engine = nullptr;
  return succeeded(env, pl_engine_open(Bytes(env, bundle).text(), &options, &engine)) ? to_java(engine) : 0;
}

PL_JNI(void, Engine, nativeClose)(JNIEnv*, jclass, jlong engine) { pl_engine_close(from_java<pl_engine>(engine)); }

PL_JNI(jobject, Engine, nativeInfo)(JNIEnv* env, jclass, jlong engine) {
  pl_engine_info info = sized<pl_engine_info>();
  if (!succeeded(env, pl_engine_get_info(from_java<pl_engine>(engine), &info))) return nullptr;
  jbyteArray const sha256 = pocketlora_jni::new_bytes(env, info.base_sha256);
  jbyteArray const manifest = sha256 == nullptr ? nullptr : pocketlora_jni::new_bytes(env, info.manifest_json);
  jbyteArray const backend = manifest == nullptr ? nullptr : pocketlora_jni::new_bytes(env, info.backend);
  jbyteArray const note = backend == nullptr ? nullptr : pocketlora_jni::new_bytes(env, info.backend_note);
  return new_object(env, "org/pocketlora/EngineInfo", "(JJJJJJJJJ[B[B[B[B)V", info.vocab_size, info.hidden_size,
                    info.num_layers, info.max_seq_len, info.train_t_max, info.prefill_t_max, info.max_rank,
                    info.max_segments, info.bos_token_id, sha256, manifest, backend, note);
}

PL_JNI(jobject, Engine, nativeMemory)(JNIEnv* env, jclass, jlong engine) {
  pl_memory m = sized<pl_memory>();
  if (!succeeded(env, pl_engine_get_memory(from_java<pl_engine>(engine), &m))) return nullptr;
  return new_object(env, "org/pocketlora/MemoryReport", "(JJJJJJJJJJJJJJ)V", m.arena, m.block_inputs, m.adapter,
                    m.gradients, m.optimizer, m.kv_cache, m.scratch, m.other, m.rss_anon, m.rss_file, m.unexplained,
                    m.base_private_dirty, m.base_resident, m.peak);
}

PL_JNI(jlong, Engine, nativeLoadAdapter)(JNIEnv* env, jclass, jlong engine, jbyteArray folder) {
  pl_adapter* adapter = nullptr;
  const pl_status status = pl_adapter_load(from_java<pl_engine>(engine), Bytes(env, folder).text(), &adapter);
  return succeeded(env, status) ? to_java(adapter) : 0;
}

PL_JNI(jlong, Engine, nativeCreateSession)(JNIEnv* env, jclass, jlong engine, jobject given) {
  pl_session_options options;
  pl_session_options_init(&options);
  Options read(env, given);
  int32_t cache_dtype = options.cache_dtype, compute = options.compute;
  read.number("contextLength", &options.context_length);
  read.number("cacheDtype", &cache_dtype);
  read.number("compute", &compute);
  options.cache_dtype = static_cast<pl_cache_dtype>(cache_dtype);
  options.compute = static_cast<pl_compute>(compute);
  if (!succeeded(env, PL_OK)) return 0;
  pl_session* session = nullptr;
  const pl_status status = pl_session_create(from_java<pl_engine>(engine), &options, &session);
  return succeeded(env, status) ? to_java(session) : 0;
}

PL_JNI(jobject, Engine, nativeEvaluate)
(JNIEnv* env, jclass, jlong engine, jlongArray adapters, jfloatArray weights, jobject given) {
  const auto refs = pocketlora_jni::adapter_refs(env, adapters, weights);
  const Batches batch(env, given);
  pl_eval_report report = sized<pl_eval_report>();
  const pl_status status =
      pl_engine_evaluate(from_java<pl_engine>(engine), refs.data(), refs.size(), batch.data(), nullptr, &report);
  if (!succeeded(env, status)) return nullptr;
  return new_object(env, "org/pocketlora/EvalReport", "(DJJD)V", report.sum_nll, report.num_labels, report.num_tokens,
                    report.seconds);
}

PL_JNI(void, Adapter, nativeSave)(JNIEnv* env, jclass, jlong adapter, jbyteArray folder) {
  succeeded(env, pl_adapter_save(from_java<pl_adapter>(adapter), Bytes(env, folder).text()));
}

PL_JNI(void, Adapter, nativeFree)(JNIEnv*, jclass, jlong adapter) { pl_adapter_free(from_java<pl_adapter>(adapter)); }
