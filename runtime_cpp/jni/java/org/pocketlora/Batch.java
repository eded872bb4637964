package org.pocketlora;

import java.util.Objects;

/** One packed micro-batch: rows of tokens one after the other. */
public final class Batch {
  /** The label of a token that is not to be learned. */
  public static final long IGNORED = -100;

  // Read by name in native code.
  final long[] tokens;
  final long[] labels;
  final long[] segments;

  /**
   * @param tokens all rows, one after the other
   * @param labels for each token itself or {@link #IGNORED}; they are shifted inside, per row
   * @param segments where each row begins, and the number of tokens at the end
   */
  public Batch(long[] tokens, long[] labels, long[] segments) {
    this.tokens = Objects.requireNonNull(tokens, "tokens").clone();
    this.labels = Objects.requireNonNull(labels, "labels").clone();
    this.segments = Objects.requireNonNull(segments, "segments").clone();
    if (labels.length != tokens.length) {
      throw new IllegalArgumentException("expected " + tokens.length + " labels, found " + labels.length);
    }
    if (segments.length < 2) {
      throw new IllegalArgumentException("expected at least 2 segment offsets, found " + segments.length);
    }
  }

  /** A copy without nulls: native code takes the elements as they are. */
  static Batch[] checked(Batch[] batches) {
    Batch[] copy = batches.clone();
    for (Batch batch : copy) Objects.requireNonNull(batch, "batch");
    return copy;
  }

  /** Rows whose tokens are all learned. */
  public static Batch ofRows(long[]... rows) {
    long[] segments = new long[rows.length + 1];
    for (int i = 0; i < rows.length; ++i) segments[i + 1] = segments[i] + rows[i].length;
    long[] tokens = new long[(int) segments[rows.length]];
    for (int i = 0; i < rows.length; ++i) System.arraycopy(rows[i], 0, tokens, (int) segments[i], rows[i].length);
    return new Batch(tokens, tokens, segments);
  }
}
