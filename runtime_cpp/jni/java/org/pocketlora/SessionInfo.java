package org.pocketlora;

/** What a session holds. */
public final class SessionInfo {
  /** Tokens that it can hold. */
  public final long contextLength;

  /** Tokens that it holds. */
  public final long length;

  /** Never AUTO. */
  public final CacheDtype cacheDtype;

  /** Of the KV cache, all layers. */
  public final long bytesPerToken;

  /** Bytes of the KV cache in memory. */
  public final long cacheResident;

  /** Never AUTO. */
  public final Compute compute;

  /** Tokens whose rows came from the engine's prefix cache so far. */
  public final long copiedTokens;

  /** What this machine makes of it in products of at most 16 rows; not of what a delegate computes. */
  public final Compute decodeCompute;

  /** The same in products of more rows. */
  public final Compute prefillCompute;

  /** Made by the native library. */
  SessionInfo(
      long contextLength,
      long length,
      int cacheDtype,
      long bytesPerToken,
      long cacheResident,
      int compute,
      long copiedTokens,
      int decodeCompute,
      int prefillCompute) {
    this.contextLength = contextLength;
    this.length = length;
    this.cacheDtype = CacheDtype.values()[cacheDtype];
    this.bytesPerToken = bytesPerToken;
    this.cacheResident = cacheResident;
    this.compute = Compute.values()[compute];
    this.copiedTokens = copiedTokens;
    this.decodeCompute = Compute.values()[decodeCompute];
    this.prefillCompute = Compute.values()[prefillCompute];
  }
}
