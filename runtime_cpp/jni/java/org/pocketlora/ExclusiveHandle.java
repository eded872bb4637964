package org.pocketlora;

/** A native object that computes one thing at a time: a session, a trainer. */
abstract class ExclusiveHandle extends NativeHandle {
  private Thread user;
  private int depth;

  ExclusiveHandle(long pointer) {
    super(pointer);
  }

  /** As enter(), for calls that must not meet each other. Until {@link #leaveAlone()}. */
  synchronized long enterAlone() {
    if (user == Thread.currentThread()) {
      throw new IllegalStateException(name() + " is in use by the call that called this listener");
    }
    return enterFromListener();
  }

  /** As enterAlone(), but a listener of the running call may come in as well. Until {@link #leaveAlone()}. */
  synchronized long enterFromListener() {
    Thread current = Thread.currentThread();
    if (user != null && user != current) throw new IllegalStateException(name() + " is in use by another thread");
    long pointer = enter();
    user = current;
    ++depth;
    return pointer;
  }

  void leaveAlone() {
    synchronized (this) {
      if (--depth == 0) user = null;
    }
    leave();
  }
}
