import { expect, test } from "vitest";
import { parseConnectionString } from "../src/client/connection-string.ts";
import { createTopicClient } from "../src/index.ts";

test.for([
  ["grpc://localhost:2136/local", { isSecure: false, host: "localhost", port: 2136, database: "/local" }],
  [
    "grpcs://ydb.example.org/ru/home/db/",
    { isSecure: true, host: "ydb.example.org", port: 2135, database: "/ru/home/db" },
  ],
  ["grpc://127.0.0.1:2136/?database=/local", { isSecure: false, host: "127.0.0.1", port: 2136, database: "/local" }],
  ["grpc://127.0.0.1:2136?database=local", { isSecure: false, host: "127.0.0.1", port: 2136, database: "/local" }],
  ["grpcs://[::1]:443/local", { isSecure: true, host: "::1", port: 443, database: "/local" }],
  ["grpc://[::1]/local", { isSecure: false, host: "::1", port: 2136, database: "/local" }],
] as const)("reads %s", ([text, address]) => {
  expect(parseConnectionString(text)).toEqual(address);
});

test.for([
  ["", "no valid host"],
  ["localhost:2136/local", "no valid host"],
  ["https://localhost/local", "begins with https://"],
  ["grpc://", "no valid host"],
  ["grpc://localhost:2136", "no database"],
  ["grpc://localhost:2136/", "no database"],
  ["grpc://localhost:0/local", "port"],
  ["grpc://localhost:99999/local", "no valid host"],
  ["grpc://localhost/a?database=/b", "two databases"],
  ["grpc://localhost/a?user=me", "parameter"],
  ["grpc://localhost/a#b", "fragment"],
  ["grpc://localhost/%zz", "percent"],
  ["grpc://localhost/bäse", "ASCII"],
])("says what is wrong with %s", ([text, what]) => {
  expect(() => parseConnectionString(text as string)).toThrow(
    new RegExp(`OPTIONS_INVALID.*${what}.*expected grpc://host`),
  );
});

test("never repeats a password", () => {
  for (const text of ["grpc://me:hunter2@host/db", "grpc://me:hunter2@/db", "http://me:hunter2@host/db"]) {
    try {
      createTopicClient(text);
      expect.unreachable();
    } catch (error) {
      expect(String((error as Error).stack)).not.toContain("hunter2");
    }
  }
});
