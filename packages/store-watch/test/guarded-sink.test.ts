import { expect, test } from "vitest";
import { type FrameSink, GuardedSink } from "../src/contract.ts";

const cause = new TypeError("the disk is full");

function guarded(sink: Partial<FrameSink>) {
  const whole: FrameSink = {
    write: () => true,
    ready: () => Promise.resolve(),
    alive: () => {},
    status: () => {},
    ...sink,
  };
  return new GuardedSink(whole, (thrown) => new Error("the sink threw", { cause: thrown }));
}

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

test("what the sink throws is found again behind every error that it caused", () => {
  const sink = guarded({
    write: () => {
      throw cause;
    },
  });
  const error = thrownBy(() => sink.write({ type: "discard" }));
  expect(error).toMatchObject({ message: "the sink threw", cause });
  expect(sink.errorOf(error)).toBe(cause);
  expect(sink.errorOf(new Error("the stream gave up", { cause: error }))).toBe(cause);
});

test("other errors are what they are, also where they cause each other", () => {
  const sink = guarded({});
  const other = new Error("the peer is gone", { cause });
  expect(sink.errorOf(other)).toBe(other);
  expect(sink.errorOf("text")).toBe("text");
  const [a, b] = [new Error("a"), new Error("b")];
  [a.cause, b.cause] = [b, a];
  expect(sink.errorOf(a)).toBe(a);
  // The same words from another sink are not this one's.
  const elsewhere = guarded({
    write: () => {
      throw cause;
    },
  });
  const theirs = thrownBy(() => elsewhere.write({ type: "discard" }));
  expect(sink.errorOf(theirs)).toBe(theirs);
});

test("waiting for room ends with the caller's reason, or with what the sink threw", async () => {
  const sink = guarded({ ready: () => Promise.reject(cause) });
  const error: unknown = await sink.ready().catch((reason: unknown) => reason);
  expect(sink.errorOf(error)).toBe(cause);
  const reason = new Error("enough");
  await expect(sink.ready(AbortSignal.abort(reason))).rejects.toBe(reason);
});
