package org.pocketlora;

/**
 * What the backward computes again of a block.
 *
 * <p>In the order of {@code pl_recompute}, whose numbers are the ordinals.
 */
public enum Recompute {
  /** FULL; under a memory limit, SELECTIVE for as many blocks as it has room for. */
  AUTO,
  /** All of it: only its input is kept. */
  FULL,
  /** All but the first products of the MLP, which are kept. */
  SELECTIVE
}
