// Native methods of Tokenizer and TextStream.
#include <pocketlora/pocketlora_tokenizer.h>

#include "jni_support.h"

using pocketlora_jni::Bytes;
using pocketlora_jni::from_java;
using pocketlora_jni::new_bytes;
using pocketlora_jni::to_java;

namespace {

bool succeeded(JNIEnv* env, pl_status status) {
  return pocketlora_jni::succeeded(env, status, pl_tokenizer_last_error());
}

}  // namespace

PL_JNI(jlong, Tokenizer, nativeOpen)(JNIEnv* env, jclass, jbyteArray path) {
  pl_tokenizer* tokenizer = nullptr;
  return succeeded(env, pl_tokenizer_open(Bytes(env, path).text(), &tokenizer)) ? to_java(tokenizer) : 0;
}

PL_JNI(void, Tokenizer, nativeClose)(JNIEnv*, jclass, jlong tokenizer) {
  pl_tokenizer_close(from_java<pl_tokenizer>(tokenizer));
}

PL_JNI(jlongArray, Tokenizer, nativeEncode)(JNIEnv* env, jclass, jlong tokenizer, jbyteArray text, jboolean special) {
  const Bytes bytes(env, text);
  // A text rarely has more ids than bytes; where it has, the second call has the room.
  std::vector<int64_t> ids(bytes.size() + 2);
  size_t count = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const pl_status status = pl_tokenizer_encode(from_java<pl_tokenizer>(tokenizer), bytes.data(), bytes.size(),
                                                 special, ids.data(), ids.size(), &count);
    if (!succeeded(env, status)) return nullptr;
    if (count <= ids.size()) break;
    ids.resize(count);
  }
  return pocketlora_jni::new_longs(env, ids.data(), count);
}

PL_JNI(jbyteArray, Tokenizer, nativeDecode)(JNIEnv* env, jclass, jlong tokenizer, jlongArray given, jboolean special) {
  const std::vector<int64_t> ids = pocketlora_jni::longs(env, given);
  std::vector<char> text(8 * ids.size() + 1);
  size_t length = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const pl_status status = pl_tokenizer_decode(from_java<pl_tokenizer>(tokenizer), ids.data(), ids.size(), special,
                                                 text.data(), text.size(), &length);
    if (!succeeded(env, status)) return nullptr;
    if (length <= text.size()) break;
    text.resize(length);
  }
  return new_bytes(env, text.data(), length);
}

PL_JNI(jlong, TextStream, nativeCreate)(JNIEnv* env, jclass, jlong tokenizer, jboolean special) {
  pl_text_stream* stream = nullptr;
  const pl_status status = pl_text_stream_create(from_java<pl_tokenizer>(tokenizer), special, &stream);
  return succeeded(env, status) ? to_java(stream) : 0;
}

PL_JNI(void, TextStream, nativeFree)(JNIEnv*, jclass, jlong stream) {
  pl_text_stream_free(from_java<pl_text_stream>(stream));
}

PL_JNI(jbyteArray, TextStream, nativePush)(JNIEnv* env, jclass, jlong stream, jlong id) {
  const char* text = nullptr;
  size_t length = 0;
  const pl_status status = pl_text_stream_push(from_java<pl_text_stream>(stream), id, &text, &length);
  return succeeded(env, status) ? new_bytes(env, text, length) : nullptr;
}

PL_JNI(jbyteArray, TextStream, nativeFlush)(JNIEnv* env, jclass, jlong stream) {
  const char* text = nullptr;
  size_t length = 0;
  const pl_status status = pl_text_stream_flush(from_java<pl_text_stream>(stream), &text, &length);
  return succeeded(env, status) ? new_bytes(env, text, length) : nullptr;
}
