package org.pocketlora.tests;

import static org.pocketlora.tests.Checks.check;
import static org.pocketlora.tests.Checks.equal;
import static org.pocketlora.tests.Checks.fails;
import static org.pocketlora.tests.Checks.refused;
import static org.pocketlora.tests.Checks.thrown;

import org.pocketlora.Adapter;
import org.pocketlora.Batch;
import org.pocketlora.Engine;
import org.pocketlora.EngineInfo;
import org.pocketlora.EngineOptions;
import org.pocketlora.EvalReport;
import org.pocketlora.MemoryReport;
import org.pocketlora.PocketLora;
import org.pocketlora.Session;
import org.pocketlora.Status;
import org.pocketlora.Trainer;
import org.pocketlora.TrainerOptions;
import org.pocketlora.Weights;

/** Statuses, opening, closing, closed handles. */
final class HandleTests {
  private HandleTests() {}

  static void run(String bundle, String work) {
    statuses();
    opening(bundle);
    try (Engine engine = Engine.open(bundle, new EngineOptions().numThreads(1).weights(Weights.KEEP))) {
      facts(engine);
      adapters(engine, work);
      closed(engine);
    }
    anyOrder(bundle);
  }

  private static void statuses() {
    for (Status status : Status.values()) equal(status.name(), PocketLora.statusName(status.code()), "name");
    check(!PocketLora.version().isEmpty(), "there is a version");
    equal(2, Status.RANK_TOO_LARGE.exitCode(), "exit code");
    equal(1, Status.INTERNAL.exitCode(), "exit code");
  }

  private static void opening(String bundle) {
    fails(Status.BUNDLE_MISSING_FILE, "/nonexistent/Grüße 🙂", () -> Engine.open("/nonexistent/Grüße 🙂"));
    fails(Status.BACKEND_MISSING, "npu", () -> Engine.open(bundle, new EngineOptions().backend("npu")));
    thrown(NullPointerException.class, () -> Engine.open(null));
    thrown(IllegalArgumentException.class, () -> Engine.open(bundle + "\0x"));
  }

  private static void facts(Engine engine) {
    EngineInfo info = engine.info();
    check(info.vocabSize > 0 && info.numLayers > 0 && info.maxSeqLen > 0, "sizes are positive");
    equal(64, info.baseSha256.length(), "digits of the hash");
    check(info.manifestJson.contains(info.baseSha256), "the manifest has the hash");
    MemoryReport memory = engine.memory();
    check(memory.rssAnon > 0 && memory.rssFile > 0, "the process has memory");
    check(memory.baseResident > 0, "the base is mapped");
    EvalReport report = engine.evaluate(Batch.ofRows(new long[] {5, 6, 7}, new long[] {8, 9}));
    equal(3L, report.numLabels, "labels: all tokens but the first of each row");
    check(report.sumNll > 0, "tokens have a cost");
  }

  private static void adapters(Engine engine, String work) {
    String folder = work + "/Grüße 🙂";
    try (Trainer trainer = engine.createTrainer(new TrainerOptions().rank(2));
        Adapter adapter = trainer.adapter()) {
      adapter.save(folder);
      engine.loadAdapter(folder).close();
      fails(Status.ADAPTER_MISSING_FILE, work, () -> engine.loadAdapter(work + "/none"));
      fails(Status.RANK_TOO_LARGE, "rank", () -> engine.createTrainer(new TrainerOptions().rank(100_000)));
      fails(
          Status.UNKNOWN_TARGET_MODULE,
          "x_proj",
          () -> engine.createTrainer(new TrainerOptions().rank(2).targetModules("x_proj")));
      try (Trainer second = engine.createTrainer(null, adapter)) {
        second.adapter().close();
      }
    }
  }

  private static void closed(Engine engine) {
    Session session = engine.createSession();
    Trainer trainer = engine.createTrainer(new TrainerOptions().rank(2));
    Adapter adapter = trainer.adapter();
    session.close();
    session.close();
    trainer.close();
    adapter.close();
    refused("Session is closed", session::reset);
    refused("Session is closed", () -> session.generate(new long[] {5}, null, null));
    refused("Trainer is closed", trainer::progress);
    refused("Trainer is closed", () -> trainer.step(Batch.ofRows(new long[] {5, 6})));
    refused("Adapter is closed", () -> adapter.save("/nonexistent/adapter"));
    try (Session open = engine.createSession()) {
      refused("Adapter is closed", () -> open.setAdapters(adapter));
      thrown(NullPointerException.class, () -> open.setAdapters((Adapter) null));
      open.prefill(new long[] {5});
    }
  }

  private static void anyOrder(String bundle) {
    Engine engine = Engine.open(bundle);
    Session session = engine.createSession();
    engine.close();
    refused("Engine is closed", engine::info);
    session.prefill(new long[] {5, 6});
    equal(2L, session.length(), "tokens");
    session.close();
  }
}
