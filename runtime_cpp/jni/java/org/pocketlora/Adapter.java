package org.pocketlora;

/** A LoRA adapter in memory. It never changes, and may be shared by sessions and threads. */
public final class Adapter extends NativeHandle {
  Adapter(long pointer) {
    super(pointer);
  }

  /** Writes a PEFT folder, atomically. */
  public void save(String folder) {
    long adapter = enter();
    try {
      nativeSave(adapter, Utf8.terminated(folder, "folder"));
    } finally {
      leave();
    }
  }

  @Override
  void release(long adapter) {
    nativeFree(adapter);
  }

  private static native void nativeSave(long adapter, byte[] folder);

  private static native void nativeFree(long adapter);
}
