package org.pocketlora;

import java.util.Iterator;

/**
 * Trains one adapter. One thread at a time: a call that meets another one is an IllegalStateException. From any thread,
 * while a step runs as well: {@link #progress}, {@link #cancel}, {@link #pause}, {@link #resume}.
 */
public final class Trainer extends ExclusiveHandle {
  Trainer(long pointer) {
    super(pointer);
  }

  /** Forward and backward of every micro-batch, then one step of the optimizer. A step that fails changes nothing. */
  public StepReport step(Batch... microBatches) {
    Batch[] batches = Batch.checked(microBatches);
    long trainer = enterAlone();
    try {
      return nativeStep(trainer, batches);
    } finally {
      leaveAlone();
    }
  }

  /**
   * Makes a step of each batch.
   *
   * @param batches one a step, for as long as there are any
   * @param listener told every step, and whether to go on; may be null
   * @return the last step's report; null when there was none
   */
  public StepReport train(Iterator<Batch> batches, ProgressListener listener) {
    StepReport report = null;
    boolean goOn = true;
    while (goOn && batches.hasNext()) {
      report = step(batches.next());
      goOn = listener == null || listener.onStep(report, progress());
    }
    return report;
  }

  /** The learning rate that the schedule works on, from the next step on. */
  public void setLearningRate(float learningRate) {
    long trainer = enterAlone();
    try {
      nativeSetLearningRate(trainer, learningRate);
    } finally {
      leaveAlone();
    }
  }

  /** Evaluates the adapter as it is on held-out batches, and remembers which was best. */
  public Validation validate(Batch... batches) {
    Batch[] heldOut = Batch.checked(batches);
    long trainer = enterAlone();
    try {
      return nativeValidate(trainer, heldOut);
    } finally {
      leaveAlone();
    }
  }

  /** A copy of the trained adapter. */
  public Adapter adapter() {
    long trainer = enterAlone();
    try {
      return new Adapter(nativeAdapter(trainer));
    } finally {
      leaveAlone();
    }
  }

  /** A copy of the adapter of the best validation; {@link TrainerOptions#keepBest} keeps it. */
  public Adapter bestAdapter() {
    long trainer = enterAlone();
    try {
      return new Adapter(nativeBestAdapter(trainer));
    } finally {
      leaveAlone();
    }
  }

  /**
   * Writes everything that training needs to go on exactly. Between steps, or while a step of another thread is paused.
   *
   * @param keep newest checkpoints that stay in the folder
   * @param userState any text, given back by loadCheckpoint
   */
  public Checkpoint saveCheckpoint(String folder, int keep, String userState) {
    byte[] path = Utf8.terminated(folder, "folder");
    byte[] state = Utf8.terminated(userState, "userState");
    boolean paused = progress().paused;
    long trainer = paused ? enter() : enterAlone();
    try {
      return nativeSaveCheckpoint(trainer, path, keep, state);
    } finally {
      if (paused) leave();
      else leaveAlone();
    }
  }

  /** Goes on from the newest undamaged checkpoint of a trainer with the same options over the same base. */
  public Checkpoint loadCheckpoint(String folder) {
    long trainer = enterAlone();
    try {
      return nativeLoadCheckpoint(trainer, Utf8.terminated(folder, "folder"));
    } finally {
      leaveAlone();
    }
  }

  /** How far training is; from any thread. */
  public TrainingProgress progress() {
    long trainer = enter();
    try {
      return nativeProgress(trainer);
    } finally {
      leave();
    }
  }

  /** Ends the running step, or else the next one, with CANCELLED; from any thread. */
  public void cancel() {
    long trainer = enter();
    try {
      nativeCancel(trainer);
    } finally {
      leave();
    }
  }

  /** Makes the running step, or else the next one, wait at its next block; from any thread. */
  public void pause() {
    long trainer = enter();
    try {
      nativePause(trainer);
    } finally {
      leave();
    }
  }

  /** Lets it go on; from any thread. */
  public void resume() {
    long trainer = enter();
    try {
      nativeResume(trainer);
    } finally {
      leave();
    }
  }

  @Override
  void release(long trainer) {
    nativeFree(trainer);
  }

  private static native void nativeFree(long trainer);

  private static native StepReport nativeStep(long trainer, Batch[] microBatches);

  private static native void nativeSetLearningRate(long trainer, float learningRate);

  private static native Validation nativeValidate(long trainer, Batch[] batches);

  private static native long nativeAdapter(long trainer);

  private static native long nativeBestAdapter(long trainer);

  private static native Checkpoint nativeSaveCheckpoint(long trainer, byte[] folder, int keep, byte[] userState);

  private static native Checkpoint nativeLoadCheckpoint(long trainer, byte[] folder);

  private static native TrainingProgress nativeProgress(long trainer);

  private static native void nativeCancel(long trainer);

  private static native void nativePause(long trainer);

  private static native void nativeResume(long trainer);
}
