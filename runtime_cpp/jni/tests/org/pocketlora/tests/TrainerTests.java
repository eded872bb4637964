package org.pocketlora.tests;

import static org.pocketlora.tests.Checks.check;
import static org.pocketlora.tests.Checks.elsewhere;
import static org.pocketlora.tests.Checks.equal;
import static org.pocketlora.tests.Checks.fails;
import static org.pocketlora.tests.Checks.join;
import static org.pocketlora.tests.Checks.refused;
import static org.pocketlora.tests.Checks.thrown;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.pocketlora.Activations;
import org.pocketlora.Batch;
import org.pocketlora.Checkpoint;
import org.pocketlora.Engine;
import org.pocketlora.Optimizer;
import org.pocketlora.Schedule;
import org.pocketlora.Status;
import org.pocketlora.StepReport;
import org.pocketlora.Trainer;
import org.pocketlora.TrainerOptions;
import org.pocketlora.TrainingProgress;
import org.pocketlora.Validation;

/** Steps, listeners, cancelling, pausing, checkpoints, validation. */
final class TrainerTests {
  private static final int STEPS = 6;

  private final Engine engine;
  private final String work;
  private final Batch batch = Batch.ofRows(new long[] {5, 6, 7, 8, 9, 10}, new long[] {20, 30, 20, 30});

  private TrainerTests(Engine engine, String work) {
    this.engine = engine;
    this.work = work;
  }

  static void run(String bundle, String work) {
    try (Engine engine = Engine.open(bundle)) {
      TrainerTests tests = new TrainerTests(engine, work);
      tests.batches();
      tests.listener();
      tests.cancelling();
      tests.pausing();
      tests.checkpoints();
      tests.validation();
    }
  }

  private static TrainerOptions options() {
    return new TrainerOptions().rank(4).alpha(8).learningRate(1e-2f).seed(-3).totalSteps(STEPS);
  }

  private void batches() {
    thrown(IllegalArgumentException.class, () -> new Batch(new long[2], new long[1], new long[] {0, 2}));
    try (Trainer trainer = engine.createTrainer(options())) {
      fails(Status.INVALID_ARGUMENT, "", () -> trainer.step());
      thrown(NullPointerException.class, () -> trainer.step((Batch) null));
      Batch outside = new Batch(new long[2], new long[2], new long[] {0, 9});
      fails(Status.INVALID_ARGUMENT, "segments", () -> trainer.step(outside));
      StepReport report = trainer.step(batch, batch);
      equal(1L, report.step, "steps");
      equal(20L, report.numTokens, "rows of two micro-batches");
      equal(16L, report.numLabels, "labels of two micro-batches");
      check(report.loss > 0 && report.gradNorm > 0 && !report.skipped, "a step of something");
    }
  }

  private void listener() {
    List<Double> losses = new ArrayList<>();
    TrainerOptions options =
        options().optimizer(Optimizer.ADAMW_8BIT).schedule(Schedule.LINEAR).warmupSteps(2);
    options.activations(Activations.FP32);
    try (Trainer trainer = engine.createTrainer(options)) {
      StepReport last =
          trainer.train(
              Collections.nCopies(STEPS, batch).iterator(),
              (report, progress) -> {
                losses.add(report.loss);
                equal(report.step, progress.step, "steps");
                equal((long) STEPS, progress.totalSteps, "of all");
                return report.step < STEPS - 1;
              });
      equal((long) STEPS - 1, last.step, "the listener ended it");
      check(losses.get(STEPS - 2) < losses.get(0), "the loss falls");
      check(last.learningRate < 1e-2, "the schedule moves");
      RuntimeException problem = new RuntimeException("enough");
      RuntimeException found =
          thrown(
              RuntimeException.class,
              () ->
                  trainer.train(
                      Arrays.asList(batch, batch).iterator(),
                      (report, progress) -> {
                        throw problem;
                      }));
      check(found == problem, "the listener's own exception comes out");
      equal((long) STEPS, trainer.progress().step, "after one step");
    }
  }

  private void cancelling() {
    try (Trainer trainer = engine.createTrainer(options())) {
      elsewhere(trainer::cancel);
      fails(Status.CANCELLED, "", () -> trainer.step(batch));
      equal(1L, trainer.step(batch).step, "the next step is the first");
    }
  }

  private void pausing() {
    try (Trainer trainer = engine.createTrainer(options())) {
      trainer.pause();
      StepReport[] report = new StepReport[1];
      Thread training = new Thread(() -> report[0] = trainer.step(batch));
      training.start();
      TrainingProgress progress = trainer.progress();
      for (int wait = 0; !progress.paused && wait < 6000; ++wait) {
        sleep();
        progress = trainer.progress();
      }
      check(progress.paused && progress.blocks > 0, "a step waits at a block");
      refused("Trainer is in use by another thread", () -> trainer.step(batch));
      equal(0L, trainer.saveCheckpoint(work + "/paused", 2, "").step, "steps in a checkpoint while a step waits");
      trainer.resume();
      join(training);
      equal(1L, report[0].step, "the step was made");
    }
  }

  private void checkpoints() {
    String folder = work + "/checkpoints";
    List<Double> expected = new ArrayList<>();
    try (Trainer trainer = engine.createTrainer(options().dropout(0.1f))) {
      for (int i = 0; i < STEPS; ++i) {
        if (i == 2) {
          Checkpoint saved = trainer.saveCheckpoint(folder, 1, "row 7 🙂");
          equal(2L, saved.step, "steps saved");
          check(saved.nbytes > 0 && saved.path.startsWith(folder), "how large and where: " + saved.path);
        }
        StepReport report = trainer.step(batch);
        if (i >= 2) expected.add(report.loss);
      }
    }
    try (Trainer trainer = engine.createTrainer(options().dropout(0.1f))) {
      Checkpoint checkpoint = trainer.loadCheckpoint(folder);
      equal(2L, checkpoint.step, "steps loaded");
      equal("row 7 🙂", checkpoint.userState, "user state");
      equal(0L, checkpoint.numSkipped, "damaged checkpoints");
      check(checkpoint.path.startsWith(folder), "where: " + checkpoint.path);
      List<Double> found = new ArrayList<>();
      for (int i = 2; i < STEPS; ++i) found.add(trainer.step(batch).loss);
      equal(expected, found, "what follows a checkpoint");
      fails(Status.INPUT_MISSING, "none", () -> trainer.loadCheckpoint(work + "/none"));
    }
    try (Trainer trainer = engine.createTrainer(options().rank(2))) {
      fails(Status.INPUT_MISMATCH, "rank", () -> trainer.loadCheckpoint(folder));
    }
  }

  private void validation() {
    try (Trainer trainer = engine.createTrainer(options().keepBest(true).patience(1))) {
      Validation first = trainer.validate(batch);
      check(first.improved && !first.shouldStop, "the first is the best so far");
      for (int i = 0; i < STEPS; ++i) trainer.step(batch);
      Validation second = trainer.validate(batch);
      check(second.improved && second.loss < first.loss, "training lowers the loss");
      equal(second.loss, second.bestLoss, "best loss");
      trainer.setLearningRate(1f);
      for (int i = 0; i < STEPS; ++i) trainer.step(batch);
      Validation third = trainer.validate(batch);
      check(!third.improved && third.shouldStop, "a learning rate of 1 does not, and the patience is 1");
      equal((long) STEPS, third.bestStep, "best step");
      trainer.bestAdapter().close();
    }
    try (Trainer trainer = engine.createTrainer(options())) {
      fails(Status.INVALID_STATE, "keep_best", trainer::bestAdapter);
    }
  }

  private static void sleep() {
    try {
      Thread.sleep(10);
    } catch (InterruptedException interrupted) {
      throw new AssertionError(interrupted);
    }
  }
}
