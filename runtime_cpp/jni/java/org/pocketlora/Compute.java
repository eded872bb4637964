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
  /** In 8-bit integers with exact sums: faster, and a product is off by about 1 %, gradients by 3 %. */
  INT8,
  /** FLOAT32 or INT16, whichever is faster on this machine. */
  AUTO,
  /**
   * In bfloat16 with sums in 32 bits where the CPU multiplies matrices of it (AMX, NEON with FEAT_BF16), elsewhere as
   * INT16: a product is off by about 0.3 %.
   */
  BF16
}
