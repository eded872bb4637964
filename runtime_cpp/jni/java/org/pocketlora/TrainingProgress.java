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
      double secondsLeft) {
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
  }
}
