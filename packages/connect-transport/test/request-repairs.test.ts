import { expect, test } from "vitest";
import { dropAbsurdTimeouts, repairAuthority } from "../src/request-repairs.ts";

test("deadlines that no timer can hold are dropped, others are kept", () => {
  const left = (headers: Record<string, string>) => {
    dropAbsurdTimeouts(headers);
    return Object.keys(headers);
  };
  expect(left({ "grpc-timeout": "99999999H" })).toEqual([]);
  expect(left({ "grpc-timeout": "597H" })).toEqual([]);
  expect(left({ "grpc-timeout": "596H" })).toEqual(["grpc-timeout"]);
  expect(left({ "grpc-timeout": "99999999m" })).toEqual(["grpc-timeout"]);
  expect(left({ "grpc-timeout": "99999999u" })).toEqual(["grpc-timeout"]);
  expect(left({ "grpc-timeout": "nonsense" })).toEqual(["grpc-timeout"]);
  expect(left({ "connect-timeout-ms": "9999999999" })).toEqual([]);
  expect(left({ "connect-timeout-ms": "1000" })).toEqual(["connect-timeout-ms"]);
});

test("a host that is none becomes one, and others stay", () => {
  const repaired = (headers: Record<string, string>) => {
    repairAuthority(headers);
    return headers;
  };
  expect(repaired({ ":authority": "::1:7400" })).toEqual({ ":authority": "localhost" });
  expect(repaired({ ":authority": "[::1]:7400" })).toEqual({ ":authority": "[::1]:7400" });
  expect(repaired({ host: "a b" })).toEqual({ host: "localhost" });
  expect(repaired({})).toEqual({ host: "localhost" });
});
