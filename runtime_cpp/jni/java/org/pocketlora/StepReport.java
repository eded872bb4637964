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

  /** Pairs of answers, with {@link Loss#DPO}; else 0. */
  public final long numPairs;

  /** Mean of the chosen answers' rewards; 0 without pairs, as the next ones. */
  public final double chosenReward;

  /** Mean of the rejected answers' rewards. */
  public final double rejectedReward;

  /** The first less the second. */
  public final double rewardMargin;

  /** The share of pairs whose chosen answer has the larger reward. */
  public final double rewardAccuracy;

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
      long skippedSteps,
      long numPairs,
      double chosenReward,
      double rejectedReward,
      double rewardMargin,
      double rewardAccuracy) {
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
    this.numPairs = numPairs;
    this.chosenReward = chosenReward;
    this.rejectedReward = rejectedReward;
    this.rewardMargin = rewardMargin;
    this.rewardAccuracy = rewardAccuracy;
  }
}
