import { expect, test } from "vitest";
import { errorText } from "../src/index.ts";

test.each([
  ["connect https://root:s3cret@etcd.example:2379 failed", "connect https://***@etcd.example:2379 failed"],
  ["postgres://u:p@ss/w0rd@db/x", "postgres://***@db/x"],
  ["authorization: Bearer eyJhbGciOi.x-y_z refused", "authorization: *** *** refused"],
  ['{"password":"hunter 2","user":"root"}', '{"password":***,"user":"root"}'],
  ["ETCD_PASSWORD=abc def", "ETCD_PASSWORD=*** def"],
  ["api-key: k1, next", "api-key: ***, next"],
  ["two\nlines\tof it", "two lines of it"],
  ["no such table: versions", "no such table: versions"],
])("%s is shown without a credential", (text, shown) => {
  expect(errorText(new Error(text))).toBe(shown);
});

test("keeps the text short", () => {
  expect(errorText("x".repeat(1_000))).toHaveLength(500);
});

test("an error without a message shows its name, anything else as text", () => {
  expect(errorText(new TypeError())).toBe("TypeError");
  expect(errorText(7)).toBe("7");
  expect(errorText(new AggregateError([]))).toBe("AggregateError");
  expect(errorText(new AggregateError([new Error("refused at ::1"), new Error("refused")]))).toBe("refused at ::1");
});
