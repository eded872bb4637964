package org.pocketlora;

/**
 * What becomes of the base's pages while layers run.
 *
 * <p>In the order of {@code pl_weights}, whose numbers are the ordinals.
 */
public enum Weights {
  /** STREAM in training when the base does not fit beside the rest, else KEEP. */
  AUTO,
  /** Pages come at their first use and stay as long as the system lets them. */
  KEEP,
  /** The next layer is read while one runs, and released after it. */
  STREAM
}
