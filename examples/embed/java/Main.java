import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.pocketlora.Adapter;
import org.pocketlora.Batch;
import org.pocketlora.Engine;
import org.pocketlora.GenerateOptions;
import org.pocketlora.PocketLoraException;
import org.pocketlora.Session;
import org.pocketlora.TextStream;
import org.pocketlora.Tokenizer;
import org.pocketlora.Trainer;
import org.pocketlora.TrainerOptions;

/**
 * Trains an adapter on lines of text, saves it, loads it, and generates with and without it.
 *
 * <p>{@code java -cp pocketlora.jar:. -Djava.library.path=<prefix>/lib Main BUNDLE TEXTS ADAPTER}. TEXTS: a text a
 * line; ADAPTER: the folder to write. One JSON line on stdout; errors on stderr, with the exit codes of docs/errors.md.
 */
public final class Main {
  private static final int STEPS = 20;
  private static final int PROMPT = 4;
  private static final int NEW_TOKENS = 12;

  private static final List<Double> losses = new ArrayList<>();

  public static void main(String[] arguments) {
    if (arguments.length != 3) {
      System.err.println("usage: Main BUNDLE TEXTS ADAPTER");
      System.exit(2);
    }
    try {
      run(arguments[0], arguments[1], arguments[2]);
    } catch (PocketLoraException error) {
      System.err.println("error: " + error.statusName() + ": " + error.getMessage());
      System.exit(error.status().exitCode());
    } catch (IOException | IllegalArgumentException error) {
      System.err.println("error: " + error.getMessage());
      System.exit(3);
    }
  }

  private static void run(String bundle, String texts, String folder) throws IOException {
    // Nothing native is left to the garbage collector: every handle is closed, in any order.
    try (Tokenizer tokenizer = Tokenizer.open(bundle + "/tokenizer.plt");
        Engine engine = Engine.open(bundle)) {
      List<long[]> rows = new ArrayList<>();
      for (String text : lines(texts)) rows.add(tokenizer.encode(text, true));
      train(engine, Batch.ofRows(rows.toArray(new long[0][])), folder);

      long[] prompt = Arrays.copyOf(rows.get(0), PROMPT);
      try (Adapter adapter = engine.loadAdapter(folder);
          Session session = engine.createSession()) {
        List<Long> base = generate(session, tokenizer, prompt);
        session.setAdapters(adapter); // pointers change; nothing is loaded
        List<Long> adapted = generate(session, tokenizer, prompt);
        session.setAdapters();
        List<Long> again = generate(session, tokenizer, prompt);
        System.out.printf(
            "{\"steps\": %d, \"first_loss\": %s, \"last_loss\": %s, \"base\": %s, \"adapter\": %s, \"base_again\": %s}%n",
            STEPS, losses.get(0), losses.get(STEPS - 1), base, adapted, again);
      }
    }
  }

  private static List<String> lines(String path) throws IOException {
    if (!Files.isReadable(Paths.get(path))) throw new IOException(path + ": cannot be read");
    List<String> lines = new ArrayList<>(Files.readAllLines(Paths.get(path), StandardCharsets.UTF_8));
    lines.removeIf(String::isEmpty);
    if (lines.isEmpty() || lines.get(0).length() < PROMPT) {
      throw new IllegalArgumentException(path + ": expected texts, the first with at least " + PROMPT + " tokens");
    }
    return lines;
  }

  private static void train(Engine engine, Batch batch, String folder) {
    TrainerOptions options = new TrainerOptions().rank(4).alpha(8).learningRate(1e-2f);
    try (Trainer trainer = engine.createTrainer(options)) {
      trainer.train(
          Collections.nCopies(STEPS, batch).iterator(),
          (step, progress) -> {
            losses.add(step.loss);
            return true; // false would stop
          });
      try (Adapter adapter = trainer.adapter()) {
        adapter.save(folder);
      }
    }
  }

  /** A new text from the same prompt: its tokens; its text goes to stderr as it comes. */
  private static List<Long> generate(Session session, Tokenizer tokenizer, long[] prompt) {
    List<Long> tokens = new ArrayList<>();
    session.reset();
    try (TextStream stream = tokenizer.createStream(true)) {
      for (long id : prompt) stream.push(id);
      session.generate(
          prompt,
          new GenerateOptions().maxNewTokens(NEW_TOKENS),
          token -> {
            tokens.add(token);
            System.err.print(stream.push(token));
            return true; // false would stop after this token
          });
      System.err.println(stream.flush());
    }
    return tokens;
  }
}
