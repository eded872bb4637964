package org.pocketlora;

/**
 * How an adapter is trained.
 *
 * <p>What is not set has the default of {@code pl_trainer_options_init} in pocketlora.h, which explains every option.
 */
public final class TrainerOptions {
  // Read by name in native code: null = not set.
  Number rank;
  Number alpha;
  byte[] targetModules;
  Number optimizer;
  Number learningRate;
  Number beta1;
  Number beta2;
  Number epsilon;
  Number weightDecay;
  Number momentum;
  Number dropout;
  Number seed;
  Number activations;
  Number maxRows;
  byte[] scratchDir;
  Number activationLimit;
  Number schedule;
  Number warmupSteps;
  Number totalSteps;
  Number maxGradNorm;
  Number maxSkippedSteps;
  Number keepBest;
  Number patience;
  Number minDelta;
  Number loss;
  Number beta;
  Number labelSmoothing;
  Number compute;
  Number recompute;

  /** Columns of the LoRA matrices; ignored when an initial adapter is given. */
  public TrainerOptions rank(int value) {
    rank = value;
    return this;
  }

  /** The adapter's scale is alpha / rank. */
  public TrainerOptions alpha(float value) {
    alpha = value;
    return this;
  }

  /** Comma-separated modules, "attention" or "all-linear". */
  public TrainerOptions targetModules(String value) {
    targetModules = Utf8.terminated(value, "targetModules");
    return this;
  }

  /** What makes a step of a gradient. */
  public TrainerOptions optimizer(Optimizer value) {
    optimizer = value.ordinal();
    return this;
  }

  /** What the schedule works on. */
  public TrainerOptions learningRate(float value) {
    learningRate = value;
    return this;
  }

  /** AdamW, Lion. */
  public TrainerOptions beta1(float value) {
    beta1 = value;
    return this;
  }

  /** AdamW, Adafactor, Lion. */
  public TrainerOptions beta2(float value) {
    beta2 = value;
    return this;
  }

  /** AdamW. */
  public TrainerOptions epsilon(float value) {
    epsilon = value;
    return this;
  }

  /** Decoupled weight decay. */
  public TrainerOptions weightDecay(float value) {
    weightDecay = value;
    return this;
  }

  /** Of SGD. */
  public TrainerOptions momentum(float value) {
    momentum = value;
    return this;
  }

  /** LoRA dropout. */
  public TrainerOptions dropout(float value) {
    dropout = value;
    return this;
  }

  /** Of the initialisation and of the dropout. */
  public TrainerOptions seed(long value) {
    seed = value;
    return this;
  }

  /** What the inputs of the blocks are kept as. */
  public TrainerOptions activations(Activations value) {
    activations = value.ordinal();
    return this;
  }

  /** Token rows of a pass; 0 = what the bundle and the memory limit allow. */
  public TrainerOptions maxRows(long value) {
    maxRows = value;
    return this;
  }

  /** A folder for block inputs that memory has no room for. */
  public TrainerOptions scratchDir(String value) {
    scratchDir = Utf8.terminated(value, "scratchDir");
    return this;
  }

  /** Bytes of block inputs beyond which they go to the scratch folder. */
  public TrainerOptions activationLimit(long value) {
    activationLimit = value;
    return this;
  }

  /** How the learning rate moves. */
  public TrainerOptions schedule(Schedule value) {
    schedule = value.ordinal();
    return this;
  }

  /** Steps over which the learning rate rises from 0. */
  public TrainerOptions warmupSteps(long value) {
    warmupSteps = value;
    return this;
  }

  /** Of the whole training: where schedules end; 0 = unknown. */
  public TrainerOptions totalSteps(long value) {
    totalSteps = value;
    return this;
  }

  /** Larger gradients are scaled down to it; 0 = never. */
  public TrainerOptions maxGradNorm(float value) {
    maxGradNorm = value;
    return this;
  }

  /** Steps in a row that may be left out because something was not finite. */
  public TrainerOptions maxSkippedSteps(int value) {
    maxSkippedSteps = value;
    return this;
  }

  /** Whether validation keeps a copy of the best adapter. */
  public TrainerOptions keepBest(boolean value) {
    keepBest = value ? 1 : 0;
    return this;
  }

  /** Validations in a row without improvement before shouldStop; 0 = no limit. */
  public TrainerOptions patience(int value) {
    patience = value;
    return this;
  }

  /** By how much a loss must be lower to be an improvement. */
  public TrainerOptions minDelta(float value) {
    minDelta = value;
    return this;
  }

  /** What training makes small. */
  public TrainerOptions loss(Loss value) {
    loss = value.ordinal();
    return this;
  }

  /** Of {@link Loss#DPO}: how far from the reference a reward leads. */
  public TrainerOptions beta(float value) {
    beta = value;
    return this;
  }

  /** Of {@link Loss#DPO}: how probable it is that the answers of a pair are the wrong way round. */
  public TrainerOptions labelSmoothing(float value) {
    labelSmoothing = value;
    return this;
  }

  /** How the products of the blocks are computed, forward and backward. */
  public TrainerOptions compute(Compute value) {
    compute = value.ordinal();
    return this;
  }

  /** What the backward computes again of a block. */
  public TrainerOptions recompute(Recompute value) {
    recompute = value.ordinal();
    return this;
  }
}
