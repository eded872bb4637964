package org.pocketlora;

/** Told every step of {@link Trainer#train}. */
public interface ProgressListener {
  /**
   * A step was made. It is called on the thread that trains, between two steps: it may validate, save a checkpoint or
   * read the adapter. What it throws ends the training and comes out of train.
   *
   * @return whether to go on
   */
  boolean onStep(StepReport report, TrainingProgress progress);
}
