import { expect, test } from "vitest";
import { parseEndpoint } from "../src/endpoint.ts";
import { EtcdLink } from "../src/etcd-link.ts";
import { type EtcdError, type EtcdSourceOptions, etcdSource } from "../src/index.ts";
import { keyText, prefixRange } from "../src/key-range.ts";
import { resolveOptions } from "../src/options.ts";

const bytes = (...each: number[]) => Uint8Array.from(each);

test("a prefix is the keys from itself to the next prefix", () => {
  expect(prefixRange(bytes(0x61, 0x2f))).toEqual({ start: bytes(0x61, 0x2f), end: bytes(0x61, 0x30) });
  expect(prefixRange(bytes(0x61, 0xff))).toEqual({ start: bytes(0x61, 0xff), end: bytes(0x62) });
  expect(prefixRange(bytes(0xff, 0xff))).toEqual({ start: bytes(0xff, 0xff), end: bytes(0) });
  expect(prefixRange(bytes())).toEqual({ start: bytes(0), end: bytes(0) });
});

test("a prefix given as a Buffer is left as it is", () => {
  const prefix = Buffer.from("a/");
  expect(Buffer.from(prefixRange(prefix).end).toString()).toBe("a0");
  expect(prefix.toString()).toBe("a/");
});

test("keys are shown as text where they are text", () => {
  expect(keyText(Buffer.from("/config/ä"))).toBe("/config/ä");
  expect(keyText(bytes(0x61, 0x00, 0xff))).toBe("a\\x00\\xff");
});

test("an endpoint is an address with or without scheme and port", () => {
  expect(parseEndpoint("http://h:1234", false)).toEqual({ origin: "http://h:1234", name: "h:1234", isTls: false });
  expect(parseEndpoint("h", false)).toEqual({ origin: "http://h:2379", name: "h:2379", isTls: false });
  expect(parseEndpoint("h:80", false).name).toBe("h:80");
  expect(parseEndpoint("h", true)).toEqual({ origin: "https://h:2379", name: "h:2379", isTls: true });
  expect(parseEndpoint("https://h", true).origin).toBe("https://h:2379");
  expect(parseEndpoint("https://h:443/", false)).toEqual({ origin: "https://h", name: "h:443", isTls: true });
  expect(parseEndpoint("http://[::1]:2379", false).origin).toBe("http://[::1]:2379");
});

const refused: readonly (readonly [what: string, options: Partial<EtcdSourceOptions>])[] = [
  ["endpoints must name at least one address", { endpoints: [] }],
  ["has a user or password in it", { endpoints: ["http://me:hunter2@h:1"] }],
  ["has the scheme ftp://", { endpoints: ["ftp://h"] }],
  ["has more than a host and a port", { endpoints: ["http://h/path"] }],
  ["is not an address", { endpoints: ["http://:x"] }],
  ["is not an address", { endpoints: ["http://me:hunter2@h:99999"] }],
  ["is plain, but there are TLS options", { endpoints: ["http://h"], tls: {} }],
  ["tls.cert and tls.key belong together", { endpoints: ["https://h"], tls: { cert: "x" } }],
  ["credentials.user must not be empty", { credentials: { user: "", password: "x" } }],
  ["either prefix or range", { range: { start: "a" } }],
  ["heartbeatIntervalMs must be above 0, got 0", { heartbeatIntervalMs: 0 }],
  ["silenceTimeoutMs must be above heartbeatIntervalMs (5000), got 5000", { silenceTimeoutMs: 5_000 }],
  ["connectTimeoutMs must be above 0, got NaN", { connectTimeoutMs: Number.NaN }],
  ["maxMessageBytes must be at least", { maxMessageBytes: 1 }],
  ["windowBytes must be in [65535,", { windowBytes: 1 }],
];

test.each(refused)("refuses options: %s", (what, options) => {
  const open = () => etcdSource({ endpoints: ["h:1"], prefix: "", ...options });
  expect(open).toThrow(what);
  expect(open).toThrow(expect.objectContaining({ code: "OPTIONS_INVALID", retryable: false }) as EtcdError);
  expect(open).not.toThrow("hunter2");
});

test("refuses a range that holds no key", () => {
  const open = () => etcdSource({ endpoints: ["h:1"], range: { start: "b", end: "b" } });
  expect(open).toThrow("range.end must come after range.start");
});

test("the scope tells what is followed, and nothing else", () => {
  const scope = (options: Partial<EtcdSourceOptions>) => etcdSource({ endpoints: ["h:1"], ...options }).scope;
  expect(scope({ prefix: "a" })).toBe(scope({ prefix: "a", endpoints: ["other:2"] }));
  expect(scope({ prefix: "a" })).toBe(scope({ range: { start: "a", end: "b" } }));
  expect(scope({ prefix: "a" })).not.toBe(scope({ prefix: "b" }));
  expect(scope({ range: { start: "a", end: "bc" } })).not.toBe(scope({ range: { start: "ab", end: "c" } }));
});

test("the description is for people and holds no secret", () => {
  const credentials = { user: "u", password: "hunter2" };
  const source = etcdSource({ endpoints: ["a:1", "b"], prefix: "/config/", credentials });
  expect(source.description).toBe("http://a:1,http://b:2379 /config/");
  expect(JSON.stringify(source)).not.toContain("hunter2");
});

test("sizes need not be whole, and a message may have any", () => {
  const { endpoints, ...resolved } = resolveOptions({
    endpoints: ["h:1"],
    prefix: "",
    windowBytes: 100_000.5,
    maxMessageBytes: Number.POSITIVE_INFINITY,
    requestTimeoutMs: Number.POSITIVE_INFINITY,
  });
  new EtcdLink({ ...resolved, endpoint: endpoints[0] }).close(undefined);
});
