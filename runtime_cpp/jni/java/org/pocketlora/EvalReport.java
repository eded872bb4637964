package org.pocketlora;

/** What a batch costs. */
public final class EvalReport {
  /** Negative log-likelihood over the unmasked tokens. */
  public final double sumNll;

  /** Unmasked tokens. */
  public final long numLabels;

  /** Rows computed. */
  public final long numTokens;

  /** Time. */
  public final double seconds;

  /** Made by the native library. */
  EvalReport(double sumNll, long numLabels, long numTokens, double seconds) {
    this.sumNll = sumNll;
    this.numLabels = numLabels;
    this.numTokens = numTokens;
    this.seconds = seconds;
  }
}
