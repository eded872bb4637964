#include "jni_support.h"

#include <cstdarg>
#include <cstring>

namespace pocketlora_jni {
namespace {

jobject field_of(JNIEnv* env, jobject object, const char* name, const char* type) {
  jclass const its_class = env->GetObjectClass(object);
  jfieldID const field = env->GetFieldID(its_class, name, type);
  env->DeleteLocalRef(its_class);
  return field == nullptr ? nullptr : env->GetObjectField(object, field);
}

std::vector<char> chars(JNIEnv* env, jbyteArray array) {
  if (array == nullptr) return {};
  std::vector<char> values(static_cast<size_t>(env->GetArrayLength(array)));
  env->GetByteArrayRegion(array, 0, static_cast<jsize>(values.size()), reinterpret_cast<jbyte*>(values.data()));
  return values;
}

}  // namespace

bool succeeded(JNIEnv* env, pl_status status, const char* message) {
  // A listener's exception says more than the status of the call that it ended.
  if (env->ExceptionCheck() == JNI_TRUE) return false;
  if (status == PL_OK) return true;
  jbyteArray const text = new_bytes(env, message);
  if (text == nullptr) return false;
  jobject const thrown =
      new_object(env, "org/pocketlora/PocketLoraException", "(I[B)V", static_cast<jint>(status), text);
  if (thrown != nullptr) env->Throw(static_cast<jthrowable>(thrown));
  return false;
}

Bytes::Bytes(JNIEnv* env, jbyteArray array) : values_(chars(env, array)), null_(array == nullptr) {}

std::vector<int64_t> longs(JNIEnv* env, jlongArray array) {
  if (array == nullptr) return {};
  std::vector<int64_t> values(static_cast<size_t>(env->GetArrayLength(array)));
  env->GetLongArrayRegion(array, 0, static_cast<jsize>(values.size()), reinterpret_cast<jlong*>(values.data()));
  return values;
}

jlongArray new_longs(JNIEnv* env, const int64_t* values, size_t n) {
  jlongArray const array = env->NewLongArray(static_cast<jsize>(n));
  if (array == nullptr) return nullptr;
  env->SetLongArrayRegion(array, 0, static_cast<jsize>(n), reinterpret_cast<const jlong*>(values));
  return array;
}

jbyteArray new_bytes(JNIEnv* env, const char* data, size_t n) {
  jbyteArray const array = env->NewByteArray(static_cast<jsize>(n));
  if (array == nullptr) return nullptr;
  env->SetByteArrayRegion(array, 0, static_cast<jsize>(n), reinterpret_cast<const jbyte*>(data));
  return array;
}

jbyteArray new_bytes(JNIEnv* env, const char* text) {
  return new_bytes(env, text, text == nullptr ? 0 : std::strlen(text));
}

jobject new_object(JNIEnv* env, const char* class_name, const char* signature, ...) {
  // Arguments that could not be made: their exception is pending.
  if (env->ExceptionCheck() == JNI_TRUE) return nullptr;
  jclass const its_class = env->FindClass(class_name);
  if (its_class == nullptr) return nullptr;
  jmethodID const constructor = env->GetMethodID(its_class, "<init>", signature);
  if (constructor == nullptr) return nullptr;
  va_list arguments;
  va_start(arguments, signature);
  jobject const object = env->NewObjectV(its_class, constructor, arguments);
  va_end(arguments);
  return object;
}

jobject Options::get(const char* field, const char* type) {
  if (object_ == nullptr || env_->ExceptionCheck() == JNI_TRUE) return nullptr;
  return field_of(env_, object_, field, type);
}

bool Options::read(const char* field, double* real, jlong* whole) {
  jobject const number = get(field, "Ljava/lang/Number;");
  if (number == nullptr) return false;
  jclass const its_class = env_->GetObjectClass(number);
  // A Number of the JDK throws from neither; -Xcheck:jni wants to see that it is asked.
  *real = env_->CallDoubleMethod(number, env_->GetMethodID(its_class, "doubleValue", "()D"));
  if (env_->ExceptionCheck() == JNI_TRUE) return false;
  *whole = env_->CallLongMethod(number, env_->GetMethodID(its_class, "longValue", "()J"));
  if (env_->ExceptionCheck() == JNI_TRUE) return false;
  env_->DeleteLocalRef(its_class);
  env_->DeleteLocalRef(number);
  return true;
}

const char* Options::text(const char* field) {
  jobject const bytes = get(field, "[B");
  if (bytes == nullptr) return nullptr;
  texts_.push_back(chars(env_, static_cast<jbyteArray>(bytes)));
  return texts_.back().data();
}

bool Options::longs(const char* field, std::vector<int64_t>* values) {
  jobject const array = get(field, "[J");
  if (array == nullptr) return false;
  *values = pocketlora_jni::longs(env_, static_cast<jlongArray>(array));
  return true;
}

std::vector<pl_adapter_ref> adapter_refs(JNIEnv* env, jlongArray adapters, jfloatArray weights) {
  const std::vector<int64_t> pointers = longs(env, adapters);
  std::vector<float> values(pointers.size());
  env->GetFloatArrayRegion(weights, 0, static_cast<jsize>(values.size()), values.data());
  std::vector<pl_adapter_ref> refs;
  for (size_t i = 0; i < pointers.size(); ++i) refs.push_back({from_java<const pl_adapter>(pointers[i]), values[i]});
  return refs;
}

Batches::Batches(JNIEnv* env, jobjectArray batches) {
  const jsize n = env->GetArrayLength(batches);
  for (jsize i = 0; i < n; ++i) {
    jobject const batch = env->GetObjectArrayElement(batches, i);
    append(env, batch);
    env->DeleteLocalRef(batch);
  }
}

Batches::Batches(JNIEnv* env, jobject batch) { append(env, batch); }

void Batches::append(JNIEnv* env, jobject batch) {
  pl_batch view = sized<pl_batch>();
  // The vectors' elements stay where they are when arrays_ grows.
  const auto array = [&](const char* name) {
    jobject const field = field_of(env, batch, name, "[J");
    arrays_.push_back(longs(env, static_cast<jlongArray>(field)));
    env->DeleteLocalRef(field);
    return arrays_.back().data();
  };
  view.tokens = array("tokens");
  view.num_tokens = arrays_.back().size();
  view.labels = array("labels");
  view.segments = array("segments");
  view.num_segments = arrays_.back().size() - 1;
  batches_.push_back(view);
}

}  // namespace pocketlora_jni
