package org.pocketlora;

/** Told every new token while a session generates. */
public interface TokenListener {
  /**
   * A token was chosen; it is called on the thread that generates. What it throws ends the generation and comes out of
   * {@link Session#generate}. Of the session's methods it may call setAdapters, truncate, cancel, length, info and
   * close.
   *
   * @return whether to go on; false stops after this token
   */
  boolean onToken(long token);
}
