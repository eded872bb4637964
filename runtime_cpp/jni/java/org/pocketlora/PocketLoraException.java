package org.pocketlora;

/** A call of the native library failed; the message names the thing, what was expected and what was found. */
public final class PocketLoraException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int code;

  /** Made by the native library. */
  PocketLoraException(int code, byte[] message) {
    super(Utf8.text(message));
    this.code = code;
  }

  /** The number of the status in C. */
  public int code() {
    return code;
  }

  /** The status. */
  public Status status() {
    return Status.of(code);
  }

  /** The status' name as the native library says it, for example "ADAPTER_MISMATCH". */
  public String statusName() {
    return PocketLora.statusName(code);
  }

  @Override
  public String toString() {
    return "PocketLoraException: " + statusName() + ": " + getMessage();
  }
}
