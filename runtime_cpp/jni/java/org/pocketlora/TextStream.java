package org.pocketlora;

/**
 * Decodes ids that come one by one; a character is never cut. To continue a prompt, push its ids and drop what comes
 * back: the text of the first new token then keeps its leading space. One thread at a time.
 */
public final class TextStream extends ExclusiveHandle {
  private final Tokenizer tokenizer;

  /** Keeps the native tokenizer in use until it is released. */
  TextStream(Tokenizer tokenizer, boolean skipSpecialTokens) {
    super(create(tokenizer, skipSpecialTokens));
    this.tokenizer = tokenizer;
  }

  private static long create(Tokenizer tokenizer, boolean skipSpecialTokens) {
    long pointer = tokenizer.enter();
    boolean made = false;
    try {
      long stream = nativeCreate(pointer, skipSpecialTokens);
      made = true;
      return stream;
    } finally {
      if (!made) tokenizer.leave();
    }
  }

  /** Takes the next id. @return the text that became certain, "" while a character is incomplete */
  public String push(long id) {
    long stream = enterAlone();
    try {
      return Utf8.text(nativePush(stream, id));
    } finally {
      leaveAlone();
    }
  }

  /** Ends a text. @return what was held back; the next id begins another text */
  public String flush() {
    long stream = enterAlone();
    try {
      return Utf8.text(nativeFlush(stream));
    } finally {
      leaveAlone();
    }
  }

  @Override
  void release(long stream) {
    nativeFree(stream);
    tokenizer.leave();
  }

  private static native long nativeCreate(long tokenizer, boolean skipSpecialTokens);

  private static native void nativeFree(long stream);

  private static native byte[] nativePush(long stream, long id);

  private static native byte[] nativeFlush(long stream);
}
