import { Code, ConnectError } from "@connectrpc/connect";
import { StreamError } from "@tidemark/stream";
import { expect, test } from "vitest";
import { describeFailure, refusalOf, retryClassOf } from "../src/failure.ts";
import { MarkerTooOldSchema, StoreReplacedSchema } from "../src/gen/tidemark/watch/v1/watch_pb.ts";
import { SourceWatchError } from "../src/index.ts";

const system = (code: string) =>
  new ConnectError("it failed", Code.Unavailable, undefined, undefined, Object.assign(new Error(code), { code }));
const tooOld = new ConnectError("old", Code.OutOfRange, undefined, [
  { desc: MarkerTooOldSchema, value: { incarnation: "i" } },
]);
const replaced = new ConnectError("new", Code.FailedPrecondition, undefined, [
  { desc: StoreReplacedSchema, value: {} },
]);

test("a refusal is told by its detail, not by its code alone", () => {
  expect(refusalOf(tooOld)).toEqual({ reason: "compacted", incarnation: "i" });
  expect(refusalOf(replaced)).toEqual({ reason: "epoch-changed" });
  expect(refusalOf(new ConnectError("", Code.OutOfRange))).toBeUndefined();
  expect(refusalOf(new Error("x"))).toBeUndefined();
});

test("nothing is fatal: what a restart mends is tried soon, the rest slowly", () => {
  for (const error of [tooOld, replaced, system("ECONNRESET"), new StreamError("SILENT", "x"), new Error("x")]) {
    expect(retryClassOf(error)).toBe("fast");
  }
  const slow = [Code.Unimplemented, Code.InvalidArgument, Code.Internal, Code.Unauthenticated];
  for (const code of slow) expect(retryClassOf(new ConnectError("", code))).toBe("slow");
  expect(retryClassOf(new SourceWatchError("PROTOCOL", "x"))).toBe("slow");
});

test("a failure says what a person can do about it", () => {
  const said = (error: unknown) => describeFailure(error, "http://h:1");
  expect(said(system("ECONNREFUSED"))).toBe("Nothing listens at http://h:1. Is the store running?");
  expect(said(system("ENOTFOUND"))).toBe("The host of http://h:1 cannot be found.");
  expect(said(new ConnectError("no", Code.Internal))).toBe("The watch of http://h:1 failed with Internal: no.");
  expect(said(tooOld)).toContain("compacted past our position");
  expect(said(replaced)).toContain("wiped, restored or replaced");
  expect(said(new StreamError("PING_TIMEOUT", "x"))).toBe("http://h:1 no longer answers pings.");
  expect(said("odd")).toBe("The watch of http://h:1 failed: odd.");
});
