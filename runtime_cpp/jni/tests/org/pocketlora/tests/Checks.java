package org.pocketlora.tests;

import org.pocketlora.PocketLoraException;
import org.pocketlora.Status;

/** What the tests say about a result; a failed check ends the program. */
final class Checks {
  private Checks() {}

  static void check(boolean condition, String what) {
    if (!condition) throw new AssertionError(what);
  }

  static void equal(Object expected, Object found, String what) {
    check(expected.equals(found), what + ": expected " + expected + ", found " + found);
  }

  /** What the action throws, which must be of that class. */
  static <T extends Throwable> T thrown(Class<T> kind, Runnable action) {
    try {
      action.run();
    } catch (Throwable found) {
      if (kind.isInstance(found)) return kind.cast(found);
      throw new AssertionError("expected " + kind.getSimpleName() + ", found " + found, found);
    }
    throw new AssertionError("expected " + kind.getSimpleName() + ", found nothing thrown");
  }

  /** The action fails with this status and a message that contains the text. */
  static void fails(Status status, String text, Runnable action) {
    PocketLoraException found = thrown(PocketLoraException.class, action);
    equal(status, found.status(), "status of: " + found.getMessage());
    equal(status.name(), found.statusName(), "status name");
    check(found.getMessage().contains(text), "expected '" + text + "' in: " + found.getMessage());
  }

  /** The action is refused because something is closed or in use. */
  static void refused(String text, Runnable action) {
    IllegalStateException found = thrown(IllegalStateException.class, action);
    check(found.getMessage().contains(text), "expected '" + text + "' in: " + found.getMessage());
  }

  /** Runs the action on another thread and waits for it; throws what it threw. */
  static void elsewhere(Runnable action) {
    Throwable[] problem = new Throwable[1];
    Thread thread = new Thread(action);
    thread.setUncaughtExceptionHandler((t, thrown) -> problem[0] = thrown);
    thread.start();
    join(thread);
    if (problem[0] != null) throw new AssertionError("on another thread: " + problem[0], problem[0]);
  }

  static void join(Thread thread) {
    try {
      thread.join(60_000);
    } catch (InterruptedException interrupted) {
      throw new AssertionError(interrupted);
    }
    check(!thread.isAlive(), "the thread ends");
  }
}
