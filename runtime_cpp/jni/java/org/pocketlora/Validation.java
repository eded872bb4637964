package org.pocketlora;

/** The adapter as it is, on held-out batches. */
public final class Validation {
  /** Steps done. */
  public final long step;

  /** Mean over the unmasked tokens of all batches. */
  public final double loss;

  /** exp(loss). */
  public final double perplexity;

  /** Unmasked tokens. */
  public final long numLabels;

  /** The lowest loss so far. */
  public final boolean improved;

  /** The patience has run out. */
  public final boolean shouldStop;

  /** The step of the lowest loss. */
  public final long bestStep;

  /** The lowest loss. */
  public final double bestLoss;

  /** Time of the validation. */
  public final double seconds;

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
  Validation(
      long step,
      double loss,
      double perplexity,
      long numLabels,
      boolean improved,
      boolean shouldStop,
      long bestStep,
      double bestLoss,
      double seconds,
      long numPairs,
      double chosenReward,
      double rejectedReward,
      double rewardMargin,
      double rewardAccuracy) {
    this.step = step;
    this.loss = loss;
    this.perplexity = perplexity;
    this.numLabels = numLabels;
    this.improved = improved;
    this.shouldStop = shouldStop;
    this.bestStep = bestStep;
    this.bestLoss = bestLoss;
    this.seconds = seconds;
    this.numPairs = numPairs;
    this.chosenReward = chosenReward;
    this.rejectedReward = rejectedReward;
    this.rewardMargin = rewardMargin;
    this.rewardAccuracy = rewardAccuracy;
  }
}
