package org.pocketlora;

/**
 * How the learning rate moves after its warm-up.
 *
 * <p>In the order of {@code pl_schedule}, whose numbers are the ordinals.
 */
public enum Schedule {
  /** It stays. */
  CONSTANT,
  /** Down to 0 at the last step. */
  LINEAR,
  /** The same along half a cosine. */
  COSINE
}
