package org.pocketlora.tests;

import static org.pocketlora.tests.Checks.check;
import static org.pocketlora.tests.Checks.elsewhere;
import static org.pocketlora.tests.Checks.equal;
import static org.pocketlora.tests.Checks.fails;
import static org.pocketlora.tests.Checks.refused;
import static org.pocketlora.tests.Checks.thrown;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.pocketlora.Adapter;
import org.pocketlora.Batch;
import org.pocketlora.CacheDtype;
import org.pocketlora.Compute;
import org.pocketlora.Engine;
import org.pocketlora.EngineOptions;
import org.pocketlora.GenerateOptions;
import org.pocketlora.GenerateReport;
import org.pocketlora.Session;
import org.pocketlora.SessionInfo;
import org.pocketlora.SessionOptions;
import org.pocketlora.Status;
import org.pocketlora.StopReason;
import org.pocketlora.Trainer;
import org.pocketlora.TrainerOptions;

/** Generation, listeners, adapters of a live session. */
final class SessionTests {
  private static final long[] PROMPT = {5, 6, 7, 8};
  private static final int NEW_TOKENS = 8;

  private final Engine engine;

  private SessionTests(Engine engine) {
    this.engine = engine;
  }

  static void run(String bundle) {
    try (Engine engine = Engine.open(bundle)) {
      SessionTests tests = new SessionTests(engine);
      tests.options();
      tests.logits();
      tests.sampling();
      tests.listenersStop();
      tests.listenersThrow();
      tests.listenersUseTheSession();
      tests.otherThreads();
      tests.adapters();
      tests.edits();
      tests.cancelling();
    }
    prefixes(bundle);
  }

  private static GenerateOptions options(int newTokens) {
    return new GenerateOptions().maxNewTokens(newTokens).stopTokens();
  }

  /** A text of its own from the prompt. */
  private static List<Long> continued(Session session, GenerateOptions options) {
    List<Long> tokens = new ArrayList<>();
    session.reset();
    session.generate(PROMPT, options, token -> tokens.add(token));
    return tokens;
  }

  private void options() {
    SessionOptions options =
        new SessionOptions().contextLength(20).cacheDtype(CacheDtype.INT8).compute(Compute.FLOAT32);
    try (Session session = engine.createSession(options)) {
      GenerateReport report = session.generate(PROMPT, options(NEW_TOKENS), null);
      equal((long) PROMPT.length, report.promptTokens, "tokens of the prompt");
      equal((long) NEW_TOKENS, report.newTokens, "new tokens");
      equal(StopReason.LENGTH, report.stopReason, "stop reason");
      SessionInfo info = session.info();
      equal(20L, info.contextLength, "context");
      equal(CacheDtype.INT8, info.cacheDtype, "cache");
      equal(Compute.FLOAT32, info.compute, "compute");
      equal(Compute.FLOAT32, info.decodeCompute, "decode compute");
      equal(Compute.FLOAT32, info.prefillCompute, "prefill compute");
      fails(Status.SEQUENCE_TOO_LONG, "20", () -> session.prefill(new long[21]));
      fails(Status.INVALID_ARGUMENT, "top_p", () -> session.generate(PROMPT, options(1).topP(-1), null));
      fails(Status.INVALID_ARGUMENT, "token", () -> session.prefill(new long[] {-1}));
      fails(Status.INVALID_ARGUMENT, "no tokens", () -> session.prefill(new long[0]));
    }
  }

  private void logits() {
    float[] logits = new float[(int) engine.info().vocabSize];
    try (Session session = engine.createSession()) {
      session.prefill(Arrays.copyOf(PROMPT, 3));
      session.decode(PROMPT[3], logits);
      int best = 0;
      for (int i = 1; i < logits.length; ++i) best = logits[i] > logits[best] ? i : best;
      equal((long) best, continued(session, options(1)).get(0), "the most probable token");
      thrown(IllegalArgumentException.class, () -> session.decode(5, new float[3]));
    }
  }

  private void sampling() {
    try (Session session = engine.createSession()) {
      List<Long> first = continued(session, options(NEW_TOKENS).temperature(1.5f).seed(-1));
      equal(first, continued(session, options(NEW_TOKENS).temperature(1.5f).seed(-1)), "the same seed");
      check(!first.equals(continued(session, options(NEW_TOKENS).temperature(1.5f).seed(2))), "another seed");
      List<Long> greedy = continued(session, options(NEW_TOKENS));
      equal(greedy, continued(session, options(NEW_TOKENS).temperature(1.5f).topK(1)), "the first of one");
      List<Long> stopped = continued(session, options(NEW_TOKENS).stopTokens(greedy.get(0)));
      equal(greedy.subList(0, 1), stopped, "up to the stop token");
    }
  }

  private void listenersStop() {
    try (Session session = engine.createSession()) {
      int[] calls = {0};
      GenerateReport report = session.generate(PROMPT, options(NEW_TOKENS), token -> ++calls[0] < 3);
      equal(3, calls[0], "calls");
      equal(3L, report.newTokens, "new tokens");
      equal(StopReason.LISTENER, report.stopReason, "stop reason");
    }
  }

  private void listenersThrow() {
    RuntimeException problem = new RuntimeException("the screen is gone");
    try (Session session = engine.createSession()) {
      List<Long> expected = continued(session, options(NEW_TOKENS));
      session.reset();
      RuntimeException found =
          thrown(
              RuntimeException.class,
              () ->
                  session.generate(
                      PROMPT,
                      options(NEW_TOKENS),
                      token -> {
                        throw problem;
                      }));
      check(found == problem, "the listener's own exception comes out");
      equal(expected, continued(session, options(NEW_TOKENS)), "the session works as before");
    }
  }

  private void listenersUseTheSession() {
    try (Session session = engine.createSession()) {
      refused(
          "in use by the call that called this listener",
          () -> session.generate(PROMPT, options(NEW_TOKENS), token -> session.generate(PROMPT, null, null) != null));
      refused(
          "in use by the call that called this listener",
          () -> {
            session.reset();
            session.generate(
                PROMPT,
                options(NEW_TOKENS),
                token -> {
                  session.reset();
                  return true;
                });
          });
      check(session.length() > 0, "the session is as the generation left it");
    }
    Session closing = engine.createSession();
    GenerateReport report =
        closing.generate(
            PROMPT,
            options(NEW_TOKENS),
            token -> {
              closing.close();
              return true;
            });
    equal((long) NEW_TOKENS, report.newTokens, "tokens of a session that was closed meanwhile");
    refused("Session is closed", closing::length);
  }

  private void otherThreads() {
    try (Session session = engine.createSession()) {
      session.generate(
          PROMPT,
          options(2),
          token -> {
            elsewhere(() -> refused("Session is in use by another thread", session::reset));
            elsewhere(() -> refused("Session is in use by another thread", () -> session.setAdapters()));
            return true;
          });
      elsewhere(session::reset);
    }
  }

  private void edits() {
    try (Session session = engine.createSession()) {
      List<Long> expected = continued(session, options(NEW_TOKENS));
      try (Session fork = session.fork()) {
        equal(session.length(), fork.length(), "tokens of a fork");
        fork.truncate(PROMPT.length - 1);
        List<Long> tokens = new ArrayList<>();
        fork.generate(new long[] {PROMPT[PROMPT.length - 1]}, options(NEW_TOKENS), token -> tokens.add(token));
        equal(expected, tokens, "the same tokens again");
        fails(Status.INVALID_ARGUMENT, "length", () -> fork.truncate(1000));
      }
    }
  }

  private void cancelling() {
    try (Session session = engine.createSession()) {
      List<Long> tokens = new ArrayList<>();
      fails(
          Status.CANCELLED,
          "",
          () ->
              session.generate(
                  PROMPT,
                  options(NEW_TOKENS),
                  token -> {
                    elsewhere(session::cancel);
                    return tokens.add(token);
                  }));
      equal(1, tokens.size(), "tokens before it was cancelled");
      equal(NEW_TOKENS, continued(session, options(NEW_TOKENS)).size(), "tokens of the next call");
    }
  }

  private static void prefixes(String bundle) {
    try (Engine engine = Engine.open(bundle, new EngineOptions().prefixCacheBytes(1 << 24));
        Session first = engine.createSession();
        Session second = engine.createSession()) {
      long[] prompt = new long[40];
      Arrays.fill(prompt, 7);
      first.prefill(prompt);
      second.prefill(prompt);
      equal(0L, first.info().copiedTokens, "tokens copied by the first");
      check(second.info().copiedTokens > 0, "tokens copied by the second");
    }
  }

  private void adapters() {
    try (Trainer trainer = engine.createTrainer(new TrainerOptions().rank(4).learningRate(1e-2f));
        Session session = engine.createSession();
        Session fresh = engine.createSession()) {
      Batch batch = Batch.ofRows(PROMPT, new long[] {20, 30, 20, 30, 20, 30});
      for (int i = 0; i < 20; ++i) trainer.step(batch);
      List<Long> base = continued(session, options(NEW_TOKENS));
      Adapter adapter = trainer.adapter();
      session.setAdapters(adapter);
      fresh.setAdapters(new Adapter[] {adapter}, new float[] {1});
      adapter.close(); // sessions keep what they use
      List<Long> adapted = continued(session, options(NEW_TOKENS));
      check(!adapted.equals(base), "the adapter makes a difference");
      equal(adapted, continued(fresh, options(NEW_TOKENS)), "a fresh session with the adapter");
      // Exchanged after the second token: what follows is what a session without it makes of these tokens.
      List<Long> mixed = new ArrayList<>();
      session.reset();
      session.generate(
          PROMPT,
          options(NEW_TOKENS),
          token -> {
            mixed.add(token);
            if (mixed.size() == 2) session.setAdapters();
            return true;
          });
      equal(adapted.subList(0, 2), mixed.subList(0, 2), "tokens before the exchange");
      long[] start = {PROMPT[0], PROMPT[1], PROMPT[2], PROMPT[3], mixed.get(0), mixed.get(1)};
      List<Long> rest = new ArrayList<>();
      fresh.setAdapters();
      fresh.reset();
      fresh.generate(start, options(NEW_TOKENS - 2), token -> rest.add(token));
      equal(rest, mixed.subList(2, NEW_TOKENS), "tokens after the exchange");
    }
  }
}
