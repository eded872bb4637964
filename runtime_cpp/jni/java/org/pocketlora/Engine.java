package org.pocketlora;

import java.util.Objects;

/**
 * An opened bundle: the base, mapped read-only. May be used from several threads. Adapters, sessions and trainers keep
 * the native engine alive; handles may be closed in any order.
 */
public final class Engine extends NativeHandle {
  private Engine(long pointer) {
    super(pointer);
  }

  /** Opens a bundle with the defaults. */
  public static Engine open(String bundle) {
    return open(bundle, null);
  }

  /** Checks a bundle and maps its base. @param options null = the defaults */
  public static Engine open(String bundle, EngineOptions options) {
    PocketLora.load();
    return new Engine(nativeOpen(Utf8.terminated(bundle, "bundle"), options));
  }

  /** Facts of the bundle. */
  public EngineInfo info() {
    long engine = enter();
    try {
      return nativeInfo(engine);
    } finally {
      leave();
    }
  }

  /** What is allocated now. */
  public MemoryReport memory() {
    long engine = enter();
    try {
      return nativeMemory(engine);
    } finally {
      leave();
    }
  }

  /** Loads a PEFT folder. */
  public Adapter loadAdapter(String folder) {
    long engine = enter();
    try {
      return new Adapter(nativeLoadAdapter(engine, Utf8.terminated(folder, "folder")));
    } finally {
      leave();
    }
  }

  /** A session with the defaults. */
  public Session createSession() {
    return createSession(null);
  }

  /** A session. @param options null = the defaults */
  public Session createSession(SessionOptions options) {
    long engine = enter();
    try {
      return new Session(nativeCreateSession(engine, options), (int) nativeInfo(engine).vocabSize);
    } finally {
      leave();
    }
  }

  /** A trainer of a new adapter. @param options null = the defaults */
  public Trainer createTrainer(TrainerOptions options) {
    long engine = enter();
    try {
      return new Trainer(nativeCreateTrainer(engine, options, 0));
    } finally {
      leave();
    }
  }

  /** A trainer of a copy of an adapter, whose ranks, alpha and modules it takes. */
  public Trainer createTrainer(TrainerOptions options, Adapter initial) {
    try (Pointers start = new Pointers(new Adapter[] {initial})) {
      long engine = enter();
      try {
        return new Trainer(nativeCreateTrainer(engine, options, start.values[0]));
      } finally {
        leave();
      }
    }
  }

  /** The loss of a batch with adapters at weight 1; none = the bare base. Forward only. */
  public EvalReport evaluate(Batch batch, Adapter... adapters) {
    Objects.requireNonNull(batch, "batch");
    try (Pointers set = new Pointers(adapters)) {
      long engine = enter();
      try {
        return nativeEvaluate(engine, set.values, set.weights, batch);
      } finally {
        leave();
      }
    }
  }

  @Override
  void release(long engine) {
    nativeClose(engine);
  }

  private static native long nativeOpen(byte[] bundle, EngineOptions options);

  private static native void nativeClose(long engine);

  private static native EngineInfo nativeInfo(long engine);

  private static native MemoryReport nativeMemory(long engine);

  private static native long nativeLoadAdapter(long engine, byte[] folder);

  private static native long nativeCreateSession(long engine, SessionOptions options);

  private static native long nativeCreateTrainer(long engine, TrainerOptions options, long initial);

  private static native EvalReport nativeEvaluate(long engine, long[] adapters, float[] weights, Batch batch);
}
