package org.pocketlora;

/**
 * Why a text ended.
 *
 * <p>In the order of {@code pl_generate_report.stop_reason}, whose numbers are the ordinals.
 */
public enum StopReason {
  /** As many tokens as asked for. */
  LENGTH,
  /** A token that ends texts. */
  STOP_TOKEN,
  /** The listener said so. */
  LISTENER
}
