package org.pocketlora;

/**
 * How a session is made.
 *
 * <p>What is not set has the default of {@code pl_session_options_init} in pocketlora.h, which explains every option.
 */
public final class SessionOptions {
  // Read by name in native code: null = not set.
  Number contextLength;
  Number cacheDtype;
  Number compute;

  /** Tokens that it can hold; 0 = what the bundle and the memory limit allow. */
  public SessionOptions contextLength(long value) {
    contextLength = value;
    return this;
  }

  /** How keys and values of past tokens are kept. */
  public SessionOptions cacheDtype(CacheDtype value) {
    cacheDtype = value.ordinal();
    return this;
  }

  /** How the products of few rows are computed. */
  public SessionOptions compute(Compute value) {
    compute = value.ordinal();
    return this;
  }
}
