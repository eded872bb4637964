#pragma once

#include <jni.h>
#include <pocketlora/pocketlora.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

/// What the native methods of org.pocketlora share. No C++ exceptions: a Java exception that is pending ends a method.
namespace pocketlora_jni {

static_assert(sizeof(jlong) == sizeof(int64_t) && sizeof(jfloat) == sizeof(float), "Java's arrays are used in place");

/// A handle as Java keeps it.
template <typename T>
T* from_java(jlong pointer) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(pointer));
}
template <typename T>
jlong to_java(T* handle) {
  return static_cast<jlong>(reinterpret_cast<uintptr_t>(handle));
}

/// Throws PocketLoraException for a failed call. @return whether the call was fine and no exception is pending.
bool succeeded(JNIEnv* env, pl_status status, const char* message);
/// The same with the message of libpocketlora.
inline bool succeeded(JNIEnv* env, pl_status status) { return succeeded(env, status, pl_last_error()); }

/// The elements of a Java array for reading; empty for null.
class Bytes {
 public:
  Bytes(JNIEnv* env, jbyteArray array);
  /// A C string: Java appends the terminating zero (Utf8.terminated). Null for a null array.
  const char* text() const { return null_ ? nullptr : values_.data(); }
  const char* data() const { return values_.data(); }
  size_t size() const { return values_.size(); }

 private:
  std::vector<char> values_;
  bool null_;
};

std::vector<int64_t> longs(JNIEnv* env, jlongArray array);
jlongArray new_longs(JNIEnv* env, const int64_t* values, size_t n);
jbyteArray new_bytes(JNIEnv* env, const char* data, size_t n);
/// UTF-8 of a C string.
jbyteArray new_bytes(JNIEnv* env, const char* text);

/// Makes an object with its package-private constructor; null with a Java exception pending when that fails.
jobject new_object(JNIEnv* env, const char* class_name, const char* signature, ...);

/// Reads an options object: fields that are null leave the defaults as they are, so does a null object.
class Options {
 public:
  Options(JNIEnv* env, jobject object) : env_(env), object_(object) {}

  template <typename T>
  void number(const char* field, T* value) {
    double real = 0;
    jlong whole = 0;
    if (!read(field, &real, &whole)) return;
    *value = std::is_floating_point<T>::value ? static_cast<T>(real) : static_cast<T>(whole);
  }
  /// @return null where it is not set; valid as long as this object.
  const char* text(const char* field);
  /// @return whether it is set.
  bool longs(const char* field, std::vector<int64_t>* values);

 private:
  bool read(const char* field, double* real, jlong* whole);
  jobject get(const char* field, const char* type);

  JNIEnv* env_;
  jobject object_;
  std::vector<std::vector<char>> texts_;
};

/// Adapters and their weights, as Java's Pointers keeps them.
std::vector<pl_adapter_ref> adapter_refs(JNIEnv* env, jlongArray adapters, jfloatArray weights);

/// The arrays of Java's Batch objects, and what C sees of them.
class Batches {
 public:
  Batches(JNIEnv* env, jobjectArray batches);
  Batches(JNIEnv* env, jobject batch);
  const pl_batch* data() const { return batches_.data(); }
  size_t size() const { return batches_.size(); }

 private:
  void append(JNIEnv* env, jobject batch);
  std::vector<std::vector<int64_t>> arrays_;
  std::vector<pl_batch> batches_;
};

/// A C struct with its size set, zeros else.
template <typename T>
T sized() {
  T value = {};
  value.struct_size = sizeof(value);
  return value;
}

}  // namespace pocketlora_jni

/// Declares the native method `name` of org.pocketlora.`type`.
#define PL_JNI(result, type, name) extern "C" JNIEXPORT result JNICALL Java_org_pocketlora_##type##_##name
