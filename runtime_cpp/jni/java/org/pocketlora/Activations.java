package org.pocketlora;

/**
 * What the inputs of the blocks are kept as between forward and backward.
 *
 * <p>In the order of {@code pl_activations}, whose numbers are the ordinals.
 */
public enum Activations {
  /** FP32, or FP16 where the memory limit asks for it. */
  AUTO,
  /** As computed. */
  FP32,
  /** Half the bytes; what is beyond its range is kept as BF16. */
  FP16,
  /** Half the bytes. */
  BF16
}
