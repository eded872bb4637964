package org.pocketlora;

/** What one training step did. */
public final class StepReport {
  /** Steps done, this one included. */
  public final long step;

  /** Mean over all unmasked tokens of the step. */
  public final double loss;

  /** Rows computed. */
  public final long numTokens;

  /** Unmasked tokens. */
  public final long numLabels;

  /** Global L2 norm of the gradient. */
  public final double gradNorm;

  /** Time of the step. */
  public final double seconds;

  /** Forward and backward passes. */
  public final long passes;

  /** That this step was made with. */
  public final double learningRate;

  /** Something was not finite, so the adapter was left as it was. */
  public final boolean skipped;

  /** So far. */
  public final long skippedSteps;

  /** Made by the native library. */
  StepReport(
      long step,
      double loss,
      long numTokens,
      long numLabels,
      double gradNorm,
      double seconds,
      long passes,
      double learningRate,
      boolean skipped,
      long skippedSteps) {
    this.step = step;
    this.loss = loss;
    this.numTokens = numTokens;
    this.numLabels = numLabels;
    this.gradNorm = gradNorm;
    this.seconds = seconds;
    this.passes = passes;
    this.learningRate = learningRate;
    this.skipped = skipped;
    this.skippedSteps = skippedSteps;
  }
}
