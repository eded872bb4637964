package org.pocketlora;

/**
 * How a bundle is opened.
 *
 * <p>What is not set has the default of {@code pl_engine_options_init} in pocketlora.h, which explains every option.
 */
public final class EngineOptions {
  // Read by name in native code: null = not set.
  byte[] backend;
  Number numThreads;
  Number verifyBase;
  Number weights;
  Number memoryLimit;
  Number prefixCacheBytes;
  Number selfTest;
  byte[] stateDir;

  /** The folder below programs/; "auto", the default, is the first of the bundle that can run here. */
  public EngineOptions backend(String value) {
    backend = Utf8.terminated(value, "backend");
    return this;
  }

  /** Threads of the whole process; 0 = the number of cores. The engine opened last decides. */
  public EngineOptions numThreads(int value) {
    numThreads = value;
    return this;
  }

  /** Whether base.ptd is hashed while opening. */
  public EngineOptions verifyBase(boolean value) {
    verifyBase = value ? 1 : 0;
    return this;
  }

  /** What becomes of the base's pages. */
  public EngineOptions weights(Weights value) {
    weights = value.ordinal();
    return this;
  }

  /** Bytes that training and evaluation may allocate; 0 = no limit. The mapped base does not count. */
  public EngineOptions memoryLimit(long value) {
    memoryLimit = value;
    return this;
  }

  /** Bytes for the KV rows of prompts, which other sessions then copy instead of computing them; 0 = off. */
  public EngineOptions prefixCacheBytes(long value) {
    prefixCacheBytes = value;
    return this;
  }

  /** When the bundle's recorded step is computed first. */
  public EngineOptions selfTest(SelfTest value) {
    selfTest = value.ordinal();
    return this;
  }

  /** The folder where outcomes of self-tests are remembered, made when needed. */
  public EngineOptions stateDir(String value) {
    stateDir = Utf8.terminated(value, "stateDir");
    return this;
  }
}
