import { Code, ConnectError } from "@connectrpc/connect";
import { type RetryClass, StreamError } from "@tidemark/stream";
import { expect, test } from "vitest";
import { classifyError, classifyOnce, statusError, transportError } from "../src/client/status.ts";
import { StatusIds_StatusCode as Status } from "../src/gen/ydb/status_pb.ts";
import { TopicError } from "../src/index.ts";

/** As a stream is tried again, and as a call that must not happen twice. */
const statuses: Record<keyof typeof Status, readonly [stream: RetryClass, once: RetryClass]> = {
  STATUS_CODE_UNSPECIFIED: ["fatal", "fatal"],
  SUCCESS: ["fatal", "fatal"],
  UNAVAILABLE: ["fast", "fast"],
  SESSION_EXPIRED: ["fast", "fast"],
  CANCELLED: ["fast", "fast"],
  BAD_SESSION: ["fast", "fast"],
  SESSION_BUSY: ["fast", "fast"],
  OVERLOADED: ["slow", "slow"],
  ABORTED: ["slow", "slow"],
  UNDETERMINED: ["fast", "fatal"],
  TIMEOUT: ["fast", "fatal"],
  BAD_REQUEST: ["fatal", "fatal"],
  UNAUTHORIZED: ["fatal", "fatal"],
  INTERNAL_ERROR: ["fatal", "fatal"],
  SCHEME_ERROR: ["fatal", "fatal"],
  GENERIC_ERROR: ["fatal", "fatal"],
  PRECONDITION_FAILED: ["fatal", "fatal"],
  ALREADY_EXISTS: ["fatal", "fatal"],
  NOT_FOUND: ["fatal", "fatal"],
  UNSUPPORTED: ["fatal", "fatal"],
  EXTERNAL_ERROR: ["fatal", "fatal"],
};

test("says of every status how soon it can be tried again", () => {
  for (const [name, [stream, once]] of Object.entries(statuses)) {
    const error = statusError("StreamWrite", Status[name as keyof typeof Status], []);
    expect([name, classifyError(error), classifyOnce(error)]).toEqual([name, stream, once]);
    expect(error.retryClass).toBe(stream);
    expect(error.status).toBe(name);
  }
});

const codes: Partial<Record<keyof typeof Code, readonly [stream: RetryClass, once: RetryClass]>> = {
  Unavailable: ["fast", "fatal"],
  Canceled: ["fast", "fatal"],
  Aborted: ["fast", "fatal"],
  Internal: ["fast", "fatal"],
  DeadlineExceeded: ["fast", "fatal"],
  ResourceExhausted: ["slow", "slow"],
  Unauthenticated: ["fast", "fast"],
  Unimplemented: ["fatal", "fatal"],
  InvalidArgument: ["fatal", "fatal"],
  PermissionDenied: ["fatal", "fatal"],
  Unknown: ["fatal", "fatal"],
};

test("says the same of what breaks below statuses, wrapped or not", () => {
  for (const [name, [stream, once]] of Object.entries(codes)) {
    const error = new ConnectError("broken", Code[name as keyof typeof Code]);
    expect([name, classifyError(error), classifyOnce(error)]).toEqual([name, stream, once]);
    const wrapped = transportError("StreamRead", error);
    expect([name, classifyError(wrapped), classifyOnce(wrapped)]).toEqual([name, stream, once]);
  }
});

test("does not try again what is too large for ever (X18)", () => {
  const error = new ConnectError("Received message larger than max (70000000 vs. 64000000)", Code.ResourceExhausted);
  expect(classifyError(error)).toBe("fatal");
  expect(classifyError(transportError("StreamWrite", error))).toBe("fatal");
});

test("tries again what cannot have reached the server", () => {
  const cause = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  const error = new ConnectError("no connection", Code.Unavailable, undefined, undefined, cause);
  expect(classifyOnce(transportError("CreateTopic", error))).toBe("fast");
});

test("knows the errors of the stream core, and takes nothing else for temporary", () => {
  expect(classifyError(new StreamError("SILENT", "nothing came", { retryable: true }))).toBe("fast");
  expect(classifyError(new StreamError("PROTOCOL", "nonsense"))).toBe("fatal");
  expect(classifyError(new TopicError("NO_ENDPOINT", "none", { retryClass: "fast" }))).toBe("fast");
  for (const other of [new TypeError("bug"), "text", undefined, null]) expect(classifyError(other)).toBe("fatal");
});

test("tells issues within issues, in one line of bounded length, and statuses that it does not know", () => {
  const issue = (message: string, issues: unknown[] = []) => ({ message, issueCode: 0, severity: 1, issues }) as never;
  const error = statusError("DescribeTopic of a", Status.SCHEME_ERROR, [issue("outer", [issue("inner")]), issue("")]);
  expect(error.message).toBe("[STATUS] DescribeTopic of a: SCHEME_ERROR: outer; inner");
  expect(statusError("x", Status.ABORTED, [issue("y".repeat(100_000))]).message.length).toBeLessThan(1100);
  expect(statusError("x", 499_999 as Status, []).message).toBe("[STATUS] x: 499999");
});
