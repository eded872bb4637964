package org.pocketlora;

/** Status codes: those of {@code pl_status} in pocketlora.h (docs/errors.md). */
public enum Status {
  OK(0),
  INVALID_ARGUMENT(100),
  SEQUENCE_TOO_LONG(101),
  RANK_TOO_LARGE(102),
  UNKNOWN_TARGET_MODULE(103),
  INVALID_STATE(104),
  INPUT_MISSING(200),
  INPUT_MALFORMED(201),
  INPUT_UNSUPPORTED(202),
  INPUT_MISMATCH(203),
  BUNDLE_MISSING_FILE(300),
  BUNDLE_CORRUPT(301),
  BUNDLE_VERSION(302),
  BUNDLE_MISMATCH(303),
  ADAPTER_MISSING_FILE(400),
  ADAPTER_CORRUPT(401),
  ADAPTER_MISMATCH(402),
  ADAPTER_OTHER_BASE(403),
  ADAPTER_UNSUPPORTED(404),
  OUT_OF_MEMORY(500),
  CANCELLED(501),
  IO_READ(600),
  IO_WRITE(601),
  DISK_FULL(602),
  BACKEND_MISSING(700),
  BACKEND_EXECUTION(701),
  BACKEND_SELF_TEST(702),
  INTERNAL(900);

  private final int code;

  Status(int code) {
    this.code = code;
  }

  /** The number in C. */
  public int code() {
    return code;
  }

  /** The exit code of command-line programs for this status, from its group of hundreds. */
  public int exitCode() {
    int group = code / 100;
    return group == 0 ? 0 : group <= 7 ? group + 1 : 1;
  }

  /** The status of a number; INTERNAL for one that this class does not know. */
  static Status of(int code) {
    for (Status status : values()) {
      if (status.code == code) return status;
    }
    return INTERNAL;
  }
}
