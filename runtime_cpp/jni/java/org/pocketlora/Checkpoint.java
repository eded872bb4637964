package org.pocketlora;

/** A checkpoint that was written or loaded. */
public final class Checkpoint {
  /** Steps done by then. */
  public final long step;

  /** Its folder. */
  public final String path;

  /** As it was given. */
  public final String userState;

  /** Newer ones passed over because they are damaged. */
  public final long numSkipped;

  /** One line for each of them. */
  public final String skipped;

  /** Its size. */
  public final long nbytes;

  /** Time that it took. */
  public final double seconds;

  /** The patience had run out by then. */
  public final boolean shouldStop;

  /** The step of the lowest validation loss. */
  public final long bestStep;

  /** Made by the native library. */
  Checkpoint(
      long step,
      byte[] path,
      byte[] userState,
      long numSkipped,
      byte[] skipped,
      long nbytes,
      double seconds,
      boolean shouldStop,
      long bestStep) {
    this.step = step;
    this.path = Utf8.text(path);
    this.userState = Utf8.text(userState);
    this.numSkipped = numSkipped;
    this.skipped = Utf8.text(skipped);
    this.nbytes = nbytes;
    this.seconds = seconds;
    this.shouldStop = shouldStop;
    this.bestStep = bestStep;
  }
}
