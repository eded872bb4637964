package org.pocketlora;

/** What one call generated. */
public final class GenerateReport {
  /** Tokens of the prompt. */
  public final long promptTokens;

  /** Tokens generated. */
  public final long newTokens;

  /** Time of the prompt. */
  public final double prefillSeconds;

  /** Time of the new tokens. */
  public final double decodeSeconds;

  /** Why it ended. */
  public final StopReason stopReason;

  /** Made by the native library. */
  GenerateReport(
      long promptTokens,
      long newTokens,
      double prefillSeconds,
      double decodeSeconds,
      int stopReason) {
    this.promptTokens = promptTokens;
    this.newTokens = newTokens;
    this.prefillSeconds = prefillSeconds;
    this.decodeSeconds = decodeSeconds;
    this.stopReason = StopReason.values()[stopReason];
  }
}
