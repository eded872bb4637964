package org.pocketlora;

/** The pointers of several adapters, valid until this is closed. */
final class Pointers implements AutoCloseable {
  final long[] values;
  final float[] weights;
  private final Adapter[] adapters;
  private int entered;

  /** Adapters at weight 1. */
  Pointers(Adapter[] adapters) {
    this(adapters, ones(adapters.length));
  }

  Pointers(Adapter[] adapters, float[] weights) {
    if (adapters.length != weights.length) {
      throw new IllegalArgumentException(
          "expected a weight for each adapter, found "
              + adapters.length
              + " adapters and "
              + weights.length
              + " weights");
    }
    this.adapters = adapters.clone();
    this.weights = weights.clone();
    values = new long[adapters.length];
    try {
      for (; entered < values.length; ++entered) values[entered] = this.adapters[entered].enter();
    } catch (RuntimeException closed) {
      close();
      throw closed;
    }
  }

  private static float[] ones(int n) {
    float[] weights = new float[n];
    java.util.Arrays.fill(weights, 1.0f);
    return weights;
  }

  @Override
  public void close() {
    while (entered > 0) adapters[--entered].leave();
  }
}
