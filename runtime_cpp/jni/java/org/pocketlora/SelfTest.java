package org.pocketlora;

/**
 * When an opened bundle computes its recorded step first.
 *
 * <p>In the order of {@code pl_self_test}, whose numbers are the ordinals.
 */
public enum SelfTest {
  /** For programs with delegates, unless the state folder remembers its outcome. */
  AUTO,
  /** Not when opening. */
  NEVER,
  /** Always. */
  ALWAYS
}
