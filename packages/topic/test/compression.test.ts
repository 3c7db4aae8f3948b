import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Compression, TopicError } from "../src/index.ts";

const raw = 1;
const gzip = 2;
const zstd = 4;
const reverse = {
  codec: 10_007,
  compress: async (data: Uint8Array) => data.toReversed(),
  decompress: (data: Uint8Array) => data.toReversed(),
};

/** Some that go to the pool, some to the thread, some neither. */
const payloads = [
  new Uint8Array(0),
  Uint8Array.of(1),
  Buffer.from("hello ".repeat(50)),
  new Uint8Array(40_000).fill(7),
  ...Array.from({ length: 300 }, (_, n) => Buffer.from(`message ${n} ${"x".repeat(n % 90)}`)),
];

test.for([raw, gzip, zstd, reverse.codec])("gives back what was compressed with codec %s", async (codec) => {
  await using compression = new Compression({ codecs: [reverse] });
  const compressed = await compression.compress(codec, payloads);
  const back = await compression.decompress(codec, compressed);
  expect(back.map((bytes) => Buffer.from(bytes as Uint8Array).toString("latin1"))).toEqual(
    payloads.map((bytes) => Buffer.from(bytes).toString("latin1")),
  );
  const single = await compression.decompress(codec, await compression.compress(codec, [Buffer.from("one")]));
  expect(Buffer.from(single[0] as Uint8Array).toString()).toBe("one");
});

test("names what is corrupt, and decompresses everything else (X21)", async () => {
  await using compression = new Compression();
  const good = gzipSync("good");
  const bad = [Buffer.from("nonsense"), good.subarray(0, 10), new Uint8Array(0)];
  for (const codec of [gzip, zstd]) {
    const sound = codec === gzip ? good : zstdCompressSync("good");
    const cut = sound.subarray(0, sound.length - 3);
    const results = await compression.decompress(codec, [sound, ...bad, cut, sound]);
    expect(
      results.map((result) => (result instanceof Uint8Array ? Buffer.from(result).toString() : result.code)),
    ).toEqual(["good", "DATA_CORRUPT", "DATA_CORRUPT", "DATA_CORRUPT", "DATA_CORRUPT", "good"]);
    const alone = await compression.decompress(codec, [cut]);
    expect(alone[0]).toMatchObject({ code: "DATA_CORRUPT" });
  }
  const [unknown] = await compression.decompress(3, [good]);
  expect(unknown).toMatchObject({ code: "CODEC_UNKNOWN" });
  expect((unknown as TopicError).message).toContain("lzop");
  await expect(compression.compress(3, [good])).rejects.toMatchObject({ code: "CODEC_UNKNOWN" });
});

test("never takes arbitrary bytes for anything else than an error or data", async () => {
  await using compression = new Compression({ maxOutputBytes: 10_000 });
  const property = fc.asyncProperty(
    fc.constantFrom(gzip, zstd),
    fc.array(fc.uint8Array({ maxLength: 60 }), { minLength: 2, maxLength: 5 }),
    async (codec, list) => {
      const results = await compression.decompress(codec, list);
      for (const result of results) expect(result instanceof Uint8Array || TopicError.is(result)).toBe(true);
    },
  );
  await fc.assert(property, { numRuns: 100 });
});

test.for([gzip, zstd])("stops a decompression bomb at the limit, wherever it runs (codec %s)", async (codec) => {
  await using compression = new Compression({
    maxOutputBytes: 1_000_000,
    codecs: [{ ...reverse, decompress: () => new Uint8Array(2_000_000) }],
  });
  const bomb = (codec === gzip ? gzipSync : zstdCompressSync)(Buffer.alloc(50_000_000));
  const fine = (codec === gzip ? gzipSync : zstdCompressSync)(Buffer.alloc(1_000_000));
  const results = await compression.decompress(codec, [bomb, fine, bomb]);
  expect(results.map((result) => (result instanceof Uint8Array ? result.length : result.code))).toEqual([
    "DATA_TOO_LARGE",
    1_000_000,
    "DATA_TOO_LARGE",
  ]);
  expect((await compression.decompress(codec, [bomb]))[0]).toMatchObject({ code: "DATA_TOO_LARGE" });
  expect((await compression.decompress(reverse.codec, [bomb]))[0]).toMatchObject({ code: "DATA_TOO_LARGE" });
});

test("leaves the event loop free", async () => {
  await using compression = new Compression({ gzipLevel: 9 });
  // About a second of gzip.
  const small = Array.from({ length: 4000 }, (_, n) => Buffer.from(`${n} ${"lorem ipsum ".repeat(160)}`));
  const large = Array.from({ length: 20 }, (_, n) => Buffer.from(`${n} ${"dolor sit amet ".repeat(60_000)}`));
  await compression.compress(gzip, small.slice(0, 10));
  const [all, own] = [process.cpuUsage(), process.threadCpuUsage()];
  await compression.compress(gzip, [...small, ...large]);
  const ms = ({ user, system }: NodeJS.CpuUsage) => (user + system) / 1000;
  const [spentMs, ownMs] = [ms(process.cpuUsage(all)), ms(process.threadCpuUsage(own))];
  expect(spentMs).toBeGreaterThan(100);
  // How long the loop took by the clock is a matter of who else wants the processor.
  expect(ownMs).toBeLessThan(spentMs / 2);
});

test("chooses a codec that the topic takes", () => {
  const compression = new Compression({ codecs: [reverse] });
  expect(compression.choose("auto", [])).toBe(raw);
  expect(compression.choose("auto", [raw, gzip])).toBe(gzip);
  expect(compression.choose("auto", [raw, gzip, zstd])).toBe(zstd);
  expect(compression.choose("auto", [3, raw])).toBe(raw);
  expect(compression.choose("auto", [3, reverse.codec])).toBe(reverse.codec);
  expect(compression.choose("gzip", [])).toBe(gzip);
  expect(compression.choose(reverse.codec, [reverse.codec])).toBe(reverse.codec);
  expect(() => compression.choose("auto", [3, 10_001])).toThrow(/UNSUPPORTED_CODECS.*lzop, 10001/);
  expect(() => compression.choose("gzip", [raw])).toThrow(/UNSUPPORTED_CODECS.*raw, not gzip/);
  expect(() => compression.choose("lzop", [])).toThrow(/CODEC_UNKNOWN/);
  expect(() => compression.choose(5, [])).toThrow(/OPTIONS_INVALID/);
});

test("says no to options that cannot be", () => {
  expect(() => new Compression({ gzipLevel: 0 })).toThrow(/OPTIONS_INVALID.*gzipLevel/);
  expect(() => new Compression({ zstdLevel: 30 })).toThrow(/OPTIONS_INVALID.*zstdLevel/);
  expect(() => new Compression({ maxOutputBytes: 0 })).toThrow(/OPTIONS_INVALID.*maxOutputBytes/);
  expect(() => new Compression({ codecs: [{ ...reverse, codec: 2 }] })).toThrow(/OPTIONS_INVALID/);
});

test("settles everything that is under way when it is closed or the caller goes", async () => {
  const compression = new Compression();
  const controller = new AbortController();
  const reason = new Error("gone");
  const aborted = compression.compress(gzip, payloads, controller.signal);
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  const pending = expect(compression.compress(gzip, payloads)).rejects.toMatchObject({ code: "CLOSED" });
  await compression.close();
  await pending;
});

test("passes on what a codec of one's own throws", async () => {
  const why = new Error("no dictionary");
  const compression = new Compression({
    codecs: [
      {
        codec: 10_000,
        compress: () => Promise.reject(why),
        decompress: () => {
          throw why;
        },
      },
    ],
  });
  await expect(compression.compress(10_000, [Uint8Array.of(1)])).rejects.toMatchObject({
    code: "DATA_CORRUPT",
    cause: why,
  });
  expect((await compression.decompress(10_000, [Uint8Array.of(1)]))[0]).toMatchObject({
    code: "DATA_CORRUPT",
    cause: why,
  });
});
