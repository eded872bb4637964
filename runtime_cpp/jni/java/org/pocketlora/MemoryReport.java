package org.pocketlora;

/** What the runtime allocated, by part, and what the system says of the process. Bytes. */
public final class MemoryReport {
  /** Of the programs. */
  public final long arena;

  /** Kept between forward and backward. */
  public final long blockInputs;

  /** LoRA matrices. */
  public final long adapter;

  /** Of the LoRA matrices. */
  public final long gradients;

  /** State of the optimizer. */
  public final long optimizer;

  /** Keys and values of past tokens. */
  public final long kvCache;

  /** Of the kernels. */
  public final long scratch;

  /** The rest. */
  public final long other;

  /** Anonymous memory of the process. */
  public final long rssAnon;

  /** File pages of the process, the base among them. */
  public final long rssFile;

  /** rssAnon less the parts. */
  public final long unexplained;

  /** Of the base's mapping; 0 by design. */
  public final long basePrivateDirty;

  /** Of the base's mapping. */
  public final long baseResident;

  /** The largest sum of the parts so far. */
  public final long peak;

  /** Made by the native library. */
  MemoryReport(
      long arena,
      long blockInputs,
      long adapter,
      long gradients,
      long optimizer,
      long kvCache,
      long scratch,
      long other,
      long rssAnon,
      long rssFile,
      long unexplained,
      long basePrivateDirty,
      long baseResident,
      long peak) {
    this.arena = arena;
    this.blockInputs = blockInputs;
    this.adapter = adapter;
    this.gradients = gradients;
    this.optimizer = optimizer;
    this.kvCache = kvCache;
    this.scratch = scratch;
    this.other = other;
    this.rssAnon = rssAnon;
    this.rssFile = rssFile;
    this.unexplained = unexplained;
    this.basePrivateDirty = basePrivateDirty;
    this.baseResident = baseResident;
    this.peak = peak;
  }
}
