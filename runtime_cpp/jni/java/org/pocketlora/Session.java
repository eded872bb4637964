package org.pocketlora;

import java.util.Objects;

/**
 * A text in the making: its tokens, their keys and values, and the active adapters. One thread at a time; a call that
 * meets another one is an IllegalStateException.
 */
public final class Session extends ExclusiveHandle {
  private final int vocabSize;

  Session(long pointer, int vocabSize) {
    super(pointer);
    this.vocabSize = vocabSize;
  }

  /** Replaces the active adapters, all at weight 1; none = the bare base. Listeners may call it. */
  public void setAdapters(Adapter... adapters) {
    try (Pointers set = new Pointers(adapters)) {
      setAdapters(set);
    }
  }

  /** The same with a weight for each. */
  public void setAdapters(Adapter[] adapters, float[] weights) {
    try (Pointers set = new Pointers(adapters, weights)) {
      setAdapters(set);
    }
  }

  private void setAdapters(Pointers set) {
    long session = enterFromListener();
    try {
      nativeSetAdapters(session, set.values, set.weights);
    } finally {
      leaveAlone();
    }
  }

  /** Forgets all tokens; keeps the adapters. */
  public void reset() {
    long session = enterAlone();
    try {
      nativeReset(session);
    } finally {
      leaveAlone();
    }
  }

  /** Forgets the tokens from there on. Listeners may call it. */
  public void truncate(long length) {
    long session = enterFromListener();
    try {
      nativeTruncate(session, length);
    } finally {
      leaveAlone();
    }
  }

  /** A session with the same tokens, adapters and settings; neither sees what happens to the other. */
  public Session fork() {
    long session = enterAlone();
    try {
      return new Session(nativeFork(session), vocabSize);
    } finally {
      leaveAlone();
    }
  }

  /** Ends the call that computes, or else the next one, with CANCELLED; from any thread. */
  public void cancel() {
    long session = enter();
    try {
      nativeCancel(session);
    } finally {
      leave();
    }
  }

  /** What the session holds. */
  public SessionInfo info() {
    long session = enterFromListener();
    try {
      return nativeInfo(session);
    } finally {
      leaveAlone();
    }
  }

  /** Tokens in the session. */
  public long length() {
    return info().length;
  }

  /** Appends tokens. */
  public void prefill(long[] tokens) {
    prefill(tokens, null);
  }

  /** Appends tokens. @param logits [vocabSize], of the last token; null = not wanted */
  public void prefill(long[] tokens, float[] logits) {
    Objects.requireNonNull(tokens, "tokens");
    check(logits);
    long session = enterAlone();
    try {
      nativePrefill(session, tokens, logits);
    } finally {
      leaveAlone();
    }
  }

  /** Appends one token. @param logits as above */
  public void decode(long token, float[] logits) {
    prefill(new long[] {token}, logits);
  }

  /**
   * Appends the prompt and generates.
   *
   * @param prompt may be empty when the session holds tokens
   * @param options null = the defaults
   * @param listener told every new token, stop tokens included; may be null
   */
  public GenerateReport generate(long[] prompt, GenerateOptions options, TokenListener listener) {
    Objects.requireNonNull(prompt, "prompt");
    long session = enterAlone();
    try {
      return nativeGenerate(session, prompt, options, listener);
    } finally {
      leaveAlone();
    }
  }

  private void check(float[] logits) {
    if (logits == null || logits.length == vocabSize) return;
    throw new IllegalArgumentException("expected room for " + vocabSize + " logits, found " + logits.length);
  }

  @Override
  void release(long session) {
    nativeFree(session);
  }

  private static native void nativeFree(long session);

  private static native void nativeSetAdapters(long session, long[] adapters, float[] weights);

  private static native void nativeReset(long session);

  private static native void nativeTruncate(long session, long length);

  private static native long nativeFork(long session);

  private static native void nativeCancel(long session);

  private static native SessionInfo nativeInfo(long session);

  private static native void nativePrefill(long session, long[] tokens, float[] logits);

  private static native GenerateReport nativeGenerate(
      long session, long[] prompt, GenerateOptions options, TokenListener listener);
}
