// Native methods of PocketLora: versions and names.
#include <pocketlora/pocketlora_tokenizer.h>

#include "jni_support.h"

namespace {

jintArray versions(JNIEnv* env, uint32_t expected, uint32_t found) {
  const jint values[] = {static_cast<jint>(expected), static_cast<jint>(found)};
  jintArray const array = env->NewIntArray(2);
  if (array != nullptr) env->SetIntArrayRegion(array, 0, 2, values);
  return array;
}

}  // namespace

PL_JNI(jintArray, PocketLora, nativeAbiVersions)(JNIEnv* env, jclass) {
  return versions(env, PL_ABI_VERSION, pl_abi_version());
}

PL_JNI(jintArray, PocketLora, nativeTokenizerAbiVersions)(JNIEnv* env, jclass) {
  return versions(env, PL_TOKENIZER_ABI_VERSION, pl_tokenizer_abi_version());
}

PL_JNI(jstring, PocketLora, nativeVersion)(JNIEnv* env, jclass) { return env->NewStringUTF(pl_version()); }

PL_JNI(jstring, PocketLora, nativeStatusName)(JNIEnv* env, jclass, jint code) {
  return env->NewStringUTF(pl_status_name(static_cast<pl_status>(code)));
}
