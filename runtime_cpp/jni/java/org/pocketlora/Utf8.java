package org.pocketlora;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Texts as the native library takes them; JNI's own strings are a UTF-8 of their own kind. */
final class Utf8 {
  private Utf8() {}

  /** UTF-8 with a terminating zero. */
  static byte[] terminated(String text, String name) {
    if (text == null) throw new NullPointerException(name + " must not be null");
    if (text.indexOf('\0') >= 0) throw new IllegalArgumentException(name + " must not contain a zero character");
    byte[] bytes = bytes(text);
    return Arrays.copyOf(bytes, bytes.length + 1);
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
