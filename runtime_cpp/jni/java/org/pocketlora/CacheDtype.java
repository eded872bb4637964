package org.pocketlora;

/**
 * How keys and values of past tokens are kept.
 *
 * <p>In the order of {@code pl_cache_dtype}, whose numbers are the ordinals.
 */
public enum CacheDtype {
  /** As computed. */
  FLOAT32,
  /** Half the bytes. */
  FLOAT16,
  /** A quarter, and one scale a head. */
  INT8,
  /** FLOAT32, or the widest with which the context fits the memory limit. */
  AUTO
}
