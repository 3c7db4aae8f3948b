import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { errorOfStatus, statusOf } from "../src/grpc-status.ts";
import { formatTimeout, parseTimeout } from "../src/grpc-timeout.ts";
import { refusal, textOf } from "./support/service.ts";

const asHeaders = (status: ReturnType<typeof statusOf>) =>
  new Headers(Object.entries(status).map(([name, value]) => [name, String(value)]));

test("errors look on the wire as connect's do, in both directions", () => {
  const theirs = findTrailerError(asHeaders(statusOf(refusal())));
  const ours = errorOfStatus(setTrailerStatus(new Headers(), refusal()));
  for (const error of [theirs, ours]) {
    expect(error).toMatchObject({ code: Code.PermissionDenied, rawMessage: "nicht für dich, 100%" });
    expect(error?.findDetails(BytesValueSchema).map(textOf)).toEqual(["the detail"]);
    expect(error?.metadata.get("x-hint")).toBe("ask first");
  }
});

test("a detail that came over the wire goes on as it is", () => {
  const received = errorOfStatus(asHeaders(statusOf(refusal()))) as ConnectError;
  const again = errorOfStatus(asHeaders(statusOf(received)));
  expect(again?.findDetails(BytesValueSchema).map(textOf)).toEqual(["the detail"]);
});

test("every message survives, also one that is no proper text", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.constantFrom(...Array.from({ length: 16 }, (_, n) => n + 1)),
      (message, code) => {
        expect(errorOfStatus(asHeaders(statusOf(new ConnectError(message, code))))).toMatchObject({
          code,
          rawMessage: message.toWellFormed(),
        });
      },
    ),
  );
});

test("what garbage a peer sends as its status is an error all the same", () => {
  const read = (headers: Record<string, string>) => errorOfStatus(new Headers(headers));
  expect(read({})).toBeUndefined();
  expect(read({ "grpc-status": "0" })).toBeUndefined();
  expect(read({ "grpc-status": "999" })).toMatchObject({ code: Code.Internal });
  expect(read({ "grpc-status": "ok" })).toMatchObject({ code: Code.Internal });
  expect(read({ "grpc-status": "5", "grpc-message": "100% wrong" })).toMatchObject({ rawMessage: "100% wrong" });
  expect(read({ "grpc-status": "5", "grpc-status-details-bin": "////" })).toMatchObject({
    code: Code.NotFound,
    details: [],
  });
});

test("what is no ConnectError tells the peer nothing, and no header of the protocol travels as metadata", () => {
  expect(statusOf(new Error("the password is swordfish"))).toEqual({
    "grpc-status": "13",
    "grpc-message": "internal error",
  });
  const error = new ConnectError("", Code.NotFound, { "content-length": "7", "grpc-status": "0", "x-mine": "1" });
  expect(statusOf(error)).toEqual({ "grpc-status": "5", "x-mine": "1" });
});

test("deadlines have at most eight digits and say at least as much as was meant", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e14, noNaN: true }), (timeoutMs) => {
      const header = formatTimeout(timeoutMs);
      expect(header).toMatch(/^\d{1,8}[HMSm]$/);
      expect(parseTimeout(header)).toBeGreaterThanOrEqual(timeoutMs);
    }),
  );
  expect(parseTimeout("8761H")).toBe(8761 * 3_600_000);
  expect(() => parseTimeout("123456789S")).toThrow(/8 digits/);
  expect(() => parseTimeout("-1S")).toThrow(/8 digits/);
});
