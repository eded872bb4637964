// Native methods of Session.
#include "jni_support.h"

using pocketlora_jni::from_java;
using pocketlora_jni::longs;
using pocketlora_jni::new_object;
using pocketlora_jni::Options;
using pocketlora_jni::sized;
using pocketlora_jni::succeeded;

namespace {

/// What pl_session_generate hands back to on_token: valid during one call, on the calling thread.
struct Listener {
  JNIEnv* env;
  jobject object;
  jmethodID on_token;
};

int32_t on_token(int64_t token, void* user) {
  const auto* const listener = static_cast<const Listener*>(user);
  const jboolean go_on = listener->env->CallBooleanMethod(listener->object, listener->on_token, token);
  // Nothing more is asked of Java before the method returns and the exception is thrown.
  if (listener->env->ExceptionCheck() == JNI_TRUE) return 1;
  return go_on == JNI_TRUE ? 0 : 1;
}

jmethodID token_method(JNIEnv* env, jobject listener) {
  if (listener == nullptr) return nullptr;
  jclass const its_class = env->GetObjectClass(listener);
  jmethodID const method = env->GetMethodID(its_class, "onToken", "(J)Z");
  env->DeleteLocalRef(its_class);
  return method;
}

}  // namespace

PL_JNI(void, Session, nativeFree)(JNIEnv*, jclass, jlong session) { pl_session_free(from_java<pl_session>(session)); }

PL_JNI(void, Session, nativeSetAdapters)
(JNIEnv* env, jclass, jlong session, jlongArray adapters, jfloatArray weights) {
  const auto refs = pocketlora_jni::adapter_refs(env, adapters, weights);
  succeeded(env, pl_session_set_adapters(from_java<pl_session>(session), refs.data(), refs.size()));
}

PL_JNI(void, Session, nativeReset)(JNIEnv* env, jclass, jlong session) {
  succeeded(env, pl_session_reset(from_java<pl_session>(session)));
}

PL_JNI(void, Session, nativeTruncate)(JNIEnv* env, jclass, jlong session, jlong length) {
  succeeded(env, pl_session_truncate(from_java<pl_session>(session), length));
}

PL_JNI(jlong, Session, nativeFork)(JNIEnv* env, jclass, jlong session) {
  pl_session* fork = nullptr;
  return succeeded(env, pl_session_fork(from_java<pl_session>(session), &fork)) ? pocketlora_jni::to_java(fork) : 0;
}

PL_JNI(void, Session, nativeCancel)(JNIEnv* env, jclass, jlong session) {
  succeeded(env, pl_session_cancel(from_java<pl_session>(session)));
}

PL_JNI(jobject, Session, nativeInfo)(JNIEnv* env, jclass, jlong session) {
  pl_session_info info = sized<pl_session_info>();
  if (!succeeded(env, pl_session_get_info(from_java<pl_session>(session), &info))) return nullptr;
  return new_object(env, "org/pocketlora/SessionInfo", "(JJIJJIJII)V", info.context_length, info.length,
                    static_cast<jint>(info.cache_dtype), info.bytes_per_token, info.cache_resident,
                    static_cast<jint>(info.compute), info.copied_tokens, static_cast<jint>(info.decode_compute),
                    static_cast<jint>(info.prefill_compute));
}

PL_JNI(void, Session, nativePrefill)(JNIEnv* env, jclass, jlong session, jlongArray tokens, jfloatArray logits) {
  const std::vector<int64_t> ids = longs(env, tokens);
  std::vector<float> values(logits == nullptr ? 0 : static_cast<size_t>(env->GetArrayLength(logits)));
  // An empty vector has no data; C wants an address and tells a missing token by the number.
  const int64_t none = 0;
  const pl_status status = pl_session_prefill(from_java<pl_session>(session), ids.empty() ? &none : ids.data(),
                                              ids.size(), values.empty() ? nullptr : values.data());
  if (!succeeded(env, status) || logits == nullptr) return;
  env->SetFloatArrayRegion(logits, 0, static_cast<jsize>(values.size()), values.data());
}

PL_JNI(jobject, Session, nativeGenerate)
(JNIEnv* env, jclass, jlong session, jlongArray prompt, jobject given, jobject listener) {
  pl_generate_options options;
  pl_generate_options_init(&options);
  Options read(env, given);
  std::vector<int64_t> stop_tokens;
  const int64_t none = 0;
  int64_t seed = static_cast<int64_t>(options.seed);
  read.number("maxNewTokens", &options.max_new_tokens);
  read.number("temperature", &options.temperature);
  read.number("topP", &options.top_p);
  read.number("seed", &seed);
  options.seed = static_cast<uint64_t>(seed);
  read.number("topK", &options.top_k);
  read.number("minP", &options.min_p);
  read.number("repetitionPenalty", &options.repetition_penalty);
  if (read.longs("stopTokens", &stop_tokens)) {
    // None at all is not the same as none given.
    options.stop_tokens = stop_tokens.empty() ? &none : stop_tokens.data();
    options.num_stop_tokens = stop_tokens.size();
  }
  const std::vector<int64_t> ids = longs(env, prompt);
  Listener user = {env, listener, token_method(env, listener)};
  if (!succeeded(env, PL_OK)) return nullptr;
  pl_generate_report report = sized<pl_generate_report>();
  const pl_status status = pl_session_generate(from_java<pl_session>(session), ids.data(), ids.size(), &options,
                                               listener == nullptr ? nullptr : on_token, &user, &report);
  if (!succeeded(env, status)) return nullptr;
  return new_object(env, "org/pocketlora/GenerateReport", "(JJDDI)V", report.prompt_tokens, report.new_tokens,
                    report.prefill_seconds, report.decode_seconds, static_cast<jint>(report.stop_reason));
}
