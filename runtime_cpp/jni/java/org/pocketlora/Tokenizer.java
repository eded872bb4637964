package org.pocketlora;

import java.util.Objects;

/** Texts to the token ids of a bundle and back. It never changes, and may be shared by threads. */
public final class Tokenizer extends NativeHandle {
  private Tokenizer(long pointer) {
    super(pointer);
  }

  /** Opens a tokenizer file. @param path {@code <bundle>/tokenizer.plt} */
  public static Tokenizer open(String path) {
    PocketLora.load();
    return new Tokenizer(nativeOpen(Utf8.terminated(path, "path")));
  }

  /** The ids of a text. @param addSpecialTokens with what the tokenizer puts around a text */
  public long[] encode(String text, boolean addSpecialTokens) {
    byte[] bytes = Utf8.bytes(Objects.requireNonNull(text, "text"));
    long tokenizer = enter();
    try {
      return nativeEncode(tokenizer, bytes, addSpecialTokens);
    } finally {
      leave();
    }
  }

  /** The text of ids. @param skipSpecialTokens whether special tokens have no text */
  public String decode(long[] ids, boolean skipSpecialTokens) {
    Objects.requireNonNull(ids, "ids");
    long tokenizer = enter();
    try {
      return Utf8.text(nativeDecode(tokenizer, ids, skipSpecialTokens));
    } finally {
      leave();
    }
  }

  /** A decoder of ids that come one by one. @param skipSpecialTokens as above */
  public TextStream createStream(boolean skipSpecialTokens) {
    return new TextStream(this, skipSpecialTokens);
  }

  @Override
  void release(long tokenizer) {
    nativeClose(tokenizer);
  }

  private static native long nativeOpen(byte[] path);

  private static native void nativeClose(long tokenizer);

  private static native long[] nativeEncode(long tokenizer, byte[] text, boolean addSpecialTokens);

  private static native byte[] nativeDecode(long tokenizer, long[] ids, boolean skipSpecialTokens);
}
