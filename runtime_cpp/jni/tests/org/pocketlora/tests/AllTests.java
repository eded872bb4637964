package org.pocketlora.tests;

/** {@code java org.pocketlora.tests.AllTests BUNDLE FOLDER}: every test; the first failed check ends it. */
public final class AllTests {
  private AllTests() {}

  public static void main(String[] arguments) {
    HandleTests.run(arguments[0], arguments[1]);
    SessionTests.run(arguments[0]);
    TrainerTests.run(arguments[0], arguments[1]);
    TokenizerTests.run(arguments[0]);
    System.out.println("passed");
  }
}
