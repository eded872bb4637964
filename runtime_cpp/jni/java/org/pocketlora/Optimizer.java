package org.pocketlora;

/**
 * What makes a step of a gradient.
 *
 * <p>In the order of {@code pl_optimizer}, whose numbers are the ordinals.
 */
public enum Optimizer {
  /** AdamW. */
  ADAMW,
  /** Gradient descent, with momentum where asked. */
  SGD,
  /** AdamW with moments in 8 bits. */
  ADAMW_8BIT,
  /** Adafactor: a number a row and a number a column. */
  ADAFACTOR,
  /** Lion. */
  LION
}
