package org.pocketlora;

/**
 * How products with the 4-bit matrices are computed.
 *
 * <p>In the order of {@code pl_compute}, whose numbers are the ordinals.
 */
public enum Compute {
  /** In 32-bit floating point. */
  FLOAT32,
  /** In 15-bit integers with exact sums. */
  INT16,
  /** Whichever is faster on this machine. */
  AUTO
}
