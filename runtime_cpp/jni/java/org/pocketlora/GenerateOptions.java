package org.pocketlora;

/**
 * How tokens are chosen, and how many.
 *
 * <p>What is not set has the default of {@code pl_generate_options_init} in pocketlora.h, which explains every option.
 */
public final class GenerateOptions {
  // Read by name in native code: null = not set.
  Number maxNewTokens;
  Number temperature;
  Number topP;
  Number seed;
  long[] stopTokens;
  Number topK;
  Number minP;
  Number repetitionPenalty;

  /** The most tokens to generate. */
  public GenerateOptions maxNewTokens(long value) {
    maxNewTokens = value;
    return this;
  }

  /** 0 = always the most probable token. */
  public GenerateOptions temperature(float value) {
    temperature = value;
    return this;
  }

  /** The fewest most probable tokens whose probabilities reach this; 1 = off. */
  public GenerateOptions topP(float value) {
    topP = value;
    return this;
  }

  /** The same seed gives the same tokens. */
  public GenerateOptions seed(long value) {
    seed = value;
    return this;
  }

  /** Tokens that end the text; when not set, those of the bundle. */
  public GenerateOptions stopTokens(long... value) {
    stopTokens = value.clone();
    return this;
  }

  /** The so many most probable tokens; 0 = off. */
  public GenerateOptions topK(long value) {
    topK = value;
    return this;
  }

  /** Tokens at least so many times as probable as the first; 0 = off. */
  public GenerateOptions minP(float value) {
    minP = value;
    return this;
  }

  /** Makes tokens of the context less likely; 1 = off. */
  public GenerateOptions repetitionPenalty(float value) {
    repetitionPenalty = value;
    return this;
  }
}
