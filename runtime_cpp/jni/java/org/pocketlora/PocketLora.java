package org.pocketlora;

/** The native library: loaded once, asked for its version. */
public final class PocketLora {
  private static boolean loaded;

  private PocketLora() {}

  /** Loads libpocketlora_jni unless that was done; every class of this package calls it. */
  static synchronized void load() {
    if (loaded) return;
    System.loadLibrary("pocketlora_jni");
    checkVersion("libpocketlora", nativeAbiVersions());
    checkVersion("libpocketlora_tokenizer", nativeTokenizerAbiVersions());
    loaded = true;
  }

  /** The native library's version, for example "0.1.0". */
  public static String version() {
    load();
    return nativeVersion();
  }

  /** The native library's name of a status code. */
  public static String statusName(int code) {
    load();
    return nativeStatusName(code);
  }

  private static void checkVersion(String library, int[] versions) {
    if (versions[0] == versions[1]) return;
    throw new UnsatisfiedLinkError(library + ": expected ABI version " + versions[0] + ", found " + versions[1]);
  }

  /** Compiled against, found. */
  private static native int[] nativeAbiVersions();

  private static native int[] nativeTokenizerAbiVersions();

  private static native String nativeVersion();

  private static native String nativeStatusName(int code);
}
