package org.pocketlora;

/** How far training is. What is not known yet is 0. */
public final class TrainingProgress {
  /** Steps done, skipped ones included. */
  public final long step;

  /** As in the options. */
  public final long totalSteps;

  /** Layers of the running step's passes that are done. */
  public final long blocksDone;

  /** Layers of the running step's passes; 0 between steps. */
  public final long blocks;

  /** A step waits at a block. */
  public final boolean paused;

  /** Of the last step. */
  public final double loss;

  /** Of the last step. */
  public final double gradNorm;

  /** Of the last step. */
  public final double learningRate;

  /** Rows computed in all steps. */
  public final long tokens;

  /** So far. */
  public final long skippedSteps;

  /** Over the steps of this process, without pauses. */
  public final double tokensPerSecond;

  /** −1 = not known. */
  public final double secondsLeft;

  /** Of the last step: the mean of the chosen answers' rewards; 0 without pairs, as the next ones. */
  public final double chosenReward;

  /** Of the last step: the mean of the rejected answers' rewards. */
  public final double rejectedReward;

  /** The first less the second. */
  public final double rewardMargin;

  /** The share of pairs whose chosen answer has the larger reward. */
  public final double rewardAccuracy;

  /** Made by the native library. */
  TrainingProgress(
      long step,
      long totalSteps,
      long blocksDone,
      long blocks,
      boolean paused,
      double loss,
      double gradNorm,
      double learningRate,
      long tokens,
      long skippedSteps,
      double tokensPerSecond,
      double secondsLeft,
      double chosenReward,
      double rejectedReward,
      double rewardMargin,
      double rewardAccuracy) {
    this.step = step;
    this.totalSteps = totalSteps;
    this.blocksDone = blocksDone;
    this.blocks = blocks;
    this.paused = paused;
    this.loss = loss;
    this.gradNorm = gradNorm;
    this.learningRate = learningRate;
    this.tokens = tokens;
    this.skippedSteps = skippedSteps;
    this.tokensPerSecond = tokensPerSecond;
    this.secondsLeft = secondsLeft;
    this.chosenReward = chosenReward;
    this.rejectedReward = rejectedReward;
    this.rewardMargin = rewardMargin;
    this.rewardAccuracy = rewardAccuracy;
  }
}
