package org.pocketlora.tests;

import static org.pocketlora.tests.Checks.check;
import static org.pocketlora.tests.Checks.equal;
import static org.pocketlora.tests.Checks.fails;
import static org.pocketlora.tests.Checks.refused;

import org.pocketlora.Status;
import org.pocketlora.TextStream;
import org.pocketlora.Tokenizer;

/** Texts to ids and back. */
final class TokenizerTests {
  private static final String TEXT = "Grüße 🙂, note\0to self";

  private TokenizerTests() {}

  static void run(String bundle) {
    fails(Status.BUNDLE_MISSING_FILE, "/nonexistent", () -> Tokenizer.open("/nonexistent/tokenizer.plt"));
    Tokenizer tokenizer = Tokenizer.open(bundle + "/tokenizer.plt");
    long[] ids = tokenizer.encode(TEXT, false);
    equal(TEXT, tokenizer.decode(ids, false), "the text of its ids");
    equal(0, tokenizer.encode("", false).length, "ids of no text");
    equal("", tokenizer.decode(new long[0], false), "text of no ids");
    check(tokenizer.encode(TEXT, true).length > ids.length, "special tokens are added");
    equal(TEXT, tokenizer.decode(tokenizer.encode(TEXT, true), true), "special tokens have no text");
    fails(Status.INVALID_ARGUMENT, "-1", () -> tokenizer.decode(new long[] {-1}, false));

    TextStream stream = tokenizer.createStream(true);
    tokenizer.close(); // the stream keeps what it uses
    StringBuilder text = new StringBuilder();
    for (long id : ids) text.append(stream.push(id));
    equal(TEXT, text.append(stream.flush()).toString(), "the text, piece by piece");
    stream.close();
    refused("TextStream is closed", stream::flush);
    refused("Tokenizer is closed", () -> tokenizer.encode(TEXT, false));
  }
}
