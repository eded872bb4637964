package org.pocketlora;

/**
 * A native object that is released once, by {@link #close()}, and not before the calls that use it have returned.
 *
 * <p>A call on a closed handle is an IllegalStateException. Nothing is released by the garbage collector: use
 * try-with-resources, or Kotlin's {@code use}.
 */
abstract class NativeHandle implements AutoCloseable {
  private long pointer;
  private int users;
  private boolean closed;

  static {
    PocketLora.load();
  }

  NativeHandle(long pointer) {
    this.pointer = pointer;
  }

  /** What messages call this object. */
  String name() {
    return getClass().getSimpleName();
  }

  /** Frees the native object. */
  abstract void release(long pointer);

  /** The pointer, valid until {@link #leave()}. Each call of a native function stands between the two. */
  synchronized long enter() {
    if (closed) throw new IllegalStateException(name() + " is closed");
    ++users;
    return pointer;
  }

  void leave() {
    long last = 0;
    synchronized (this) {
      if (--users == 0 && closed) last = take();
    }
    if (last != 0) release(last);
  }

  /** Ends the use of this object; closing twice is fine. While a call runs, memory is released when that returns. */
  @Override
  public void close() {
    long last = 0;
    synchronized (this) {
      closed = true;
      if (users == 0) last = take();
    }
    if (last != 0) release(last);
  }

  private long take() {
    long taken = pointer;
    pointer = 0;
    return taken;
  }
}
