package org.pocketlora;

/**
 * What training makes small.
 *
 * <p>In the order of {@code pl_loss}, whose numbers are the ordinals.
 */
public enum Loss {
  /** The mean over all unmasked tokens of a step. */
  CROSS_ENTROPY,
  /**
   * Direct preference optimization: segments 2i and 2i + 1 of a batch are the chosen and the rejected answer of a pair.
   * The reference is the initial adapter, or the bare base without one.
   */
  DPO
}
