package org.pocketlora;

/** Facts of an opened bundle. */
public final class EngineInfo {
  /** Token ids are below it. */
  public final long vocabSize;

  /** Columns of a hidden row. */
  public final long hiddenSize;

  /** Decoder blocks. */
  public final long numLayers;

  /** The longest context, in tokens. */
  public final long maxSeqLen;

  /** The most token rows of a training pass. */
  public final long trainTMax;

  /** The most token rows of a prefill call. */
  public final long prefillTMax;

  /** The highest rank of an adapter. */
  public final long maxRank;

  /** The most rows packed into a pass. */
  public final long maxSegments;

  /** The token that begins a text; −1 = none. */
  public final long bosTokenId;

  /** 64 hexadecimal digits of the base. */
  public final String baseSha256;

  /** The whole manifest. */
  public final String manifestJson;

  /** Whose programs run, for example "cpu". */
  public final String backend;

  /** Why it is not the backend that the bundle lists first; empty = it is. */
  public final String backendNote;

  /** Made by the native library. */
  EngineInfo(
      long vocabSize,
      long hiddenSize,
      long numLayers,
      long maxSeqLen,
      long trainTMax,
      long prefillTMax,
      long maxRank,
      long maxSegments,
      long bosTokenId,
      byte[] baseSha256,
      byte[] manifestJson,
      byte[] backend,
      byte[] backendNote) {
    this.vocabSize = vocabSize;
    this.hiddenSize = hiddenSize;
    this.numLayers = numLayers;
    this.maxSeqLen = maxSeqLen;
    this.trainTMax = trainTMax;
    this.prefillTMax = prefillTMax;
    this.maxRank = maxRank;
    this.maxSegments = maxSegments;
    this.bosTokenId = bosTokenId;
    this.baseSha256 = Utf8.text(baseSha256);
    this.manifestJson = Utf8.text(manifestJson);
    this.backend = Utf8.text(backend);
    this.backendNote = Utf8.text(backendNote);
  }
}
