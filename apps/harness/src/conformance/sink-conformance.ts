import type { StoreWrite } from "@tidemark/store-watch";
import type { Sink, SinkResult } from "@tidemark/sync";
import { type ConformanceCheck, mustBe } from "./checks.ts";

/** The store behind a sink, as somebody else sees and changes it. */
interface SinkConformanceDriver {
  /** What is there, with the version that the store's watch reports; undefined: nothing. */
  read(key: Uint8Array): Promise<{ readonly value: Uint8Array; readonly version: string } | undefined>;
  put(key: Uint8Array, value: Uint8Array): Promise<void>;
  remove(key: Uint8Array): Promise<void>;
  /**
   * A key that the sink may write, made of these bytes.
   * @default the bytes themselves
   */
  key?(bytes: Uint8Array): Uint8Array;
}

export interface SinkConformanceOptions {
  /** A sink over the driver's store. */
  open(): Sink | Promise<Sink>;
  readonly driver: SinkConformanceDriver;
  /**
   * Whether keys may be any bytes. Otherwise they are ASCII text.
   * @default true
   */
  readonly binaryKeys?: boolean;
}

type Write = Pick<StoreWrite, "key" | "value"> & { readonly expected?: string | undefined };

/** A store, a sink over it, and keys that no other check uses. */
class Desk {
  readonly driver: SinkConformanceDriver;
  readonly #sink: Sink;
  readonly #index: number;

  constructor(options: SinkConformanceOptions, sink: Sink, index: number) {
    this.driver = options.driver;
    this.#sink = sink;
    this.#index = index;
  }

  key(name: string | Uint8Array): Uint8Array {
    const own = Buffer.concat([Buffer.from(`check-${this.#index}/`), Buffer.from(name)]);
    return this.driver.key?.(own) ?? own;
  }

  apply(...writes: readonly Write[]): Promise<SinkResult> {
    const whole = writes.map(
      ({ key, value, expected }, index): StoreWrite => ({
        object: index,
        want: index,
        key,
        value,
        attributes: undefined,
        expected,
        known: 0,
      }),
    );
    return this.#sink.apply(whole, new AbortController().signal);
  }

  /** Puts it past the sink. @returns the store's version of it */
  async given(key: Uint8Array, value: string): Promise<string> {
    await this.driver.put(key, Buffer.from(value));
    return (await this.has(key, value)) as string;
  }

  /** @returns the store's version of it @throws unless that is what is there */
  async has(key: Uint8Array, value: string | undefined): Promise<string | undefined> {
    const found = await this.driver.read(key);
    const text = found === undefined ? "nothing" : JSON.stringify(Buffer.from(found.value).toString());
    const wanted = value === undefined ? "nothing" : JSON.stringify(value);
    mustBe(text === wanted, `the store has ${text} where it should have ${wanted}`);
    return found?.version;
  }
}

function versionsOf(result: SinkResult): readonly string[] {
  if (!result.isApplied) throw new Error("the sink refused, although every key has the version that was expected");
  return result.versions;
}

function mustRefuse(result: SinkResult, why: string): void {
  mustBe(!result.isApplied, `the sink said that it was applied, although ${why}`);
}

/**
 * What a sink promises as named checks for its author, in the order in which to run them; one at a time. Each works on
 * keys of its own, and leaves them there.
 */
export function sinkConformance(options: SinkConformanceOptions): readonly ConformanceCheck[] {
  return entries.map(({ name, body, needsBytes = false }, index) => ({
    name,
    skip: needsBytes && options.binaryKeys === false ? "keys are text" : undefined,
    run: async () => body(new Desk(options, await options.open(), index)),
  }));
}

const value = (text: string) => Buffer.from(text);

const entries: readonly {
  readonly name: string;
  readonly needsBytes?: boolean;
  readonly body: (desk: Desk) => Promise<void>;
}[] = [
  {
    name: "makes what is not there, and says the version that the watch reports",
    async body(desk) {
      const key = desk.key("a");
      const [version] = versionsOf(await desk.apply({ key, value: value("1") }));
      const there = await desk.has(key, "1");
      mustBe(version === there, `it said version ${version}, the store reports ${there}`);
    },
  },
  {
    name: "replaces what has the version that is expected, with a greater one",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      const [version = ""] = versionsOf(await desk.apply({ key, value: value("2"), expected }));
      mustBe(version === (await desk.has(key, "2")), `it said version ${version}, the store reports another`);
      mustBe(version > expected, `versions have to grow as text: ${version} came after ${expected}`);
    },
  },
  {
    name: "overwrites nothing that somebody else changed",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      await desk.given(key, "theirs");
      mustRefuse(await desk.apply({ key, value: value("2"), expected }), "the key has another version");
      await desk.has(key, "theirs");
    },
  },
  {
    name: "overwrites nothing where nothing is expected",
    async body(desk) {
      const key = desk.key("a");
      await desk.given(key, "theirs");
      mustRefuse(await desk.apply({ key, value: value("2") }), "there is something");
      await desk.has(key, "theirs");
    },
  },
  {
    name: "makes nothing where something was and is gone",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      await desk.driver.remove(key);
      mustRefuse(await desk.apply({ key, value: value("2"), expected }), "the key is gone");
      await desk.has(key, undefined);
    },
  },
  {
    name: "makes all writes of a transaction, with a version of each, in their order",
    async body(desk) {
      const keys = ["a", "b", "c"].map((name) => desk.key(name));
      const expected = await desk.given(keys[1] as Uint8Array, "1");
      const versions = versionsOf(
        await desk.apply(
          ...keys.map((key, index) => ({ key, value: value(`n${index}`), ...(index === 1 && { expected }) })),
        ),
      );
      mustBe(versions.length === 3, `it said ${versions.length} versions of 3 writes`);
      for (const [index, key] of keys.entries()) {
        const there = await desk.has(key, `n${index}`);
        mustBe(
          versions[index] === there,
          `write ${index} is said to be ${versions[index]}, the store reports ${there}`,
        );
      }
    },
  },
  {
    name: "makes no write of a transaction of which one is refused, whichever that is",
    async body(desk) {
      for (const stale of [0, 1, 2]) {
        const keys = ["a", "b", "c"].map((name) => desk.key(`${stale}${name}`));
        await desk.given(keys[stale] as Uint8Array, "theirs");
        const result = await desk.apply(...keys.map((key) => ({ key, value: value("ours") })));
        mustRefuse(result, "one of the keys is there");
        for (const [index, key] of keys.entries()) await desk.has(key, index === stale ? "theirs" : undefined);
      }
    },
  },
  {
    name: "deletes what has the version that is expected, and it can be made again",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      const [version = ""] = versionsOf(await desk.apply({ key, value: undefined, expected }));
      await desk.has(key, undefined);
      mustBe(version > expected, `a deletion has a version too, greater than ${expected}; got ${version}`);
      const [again = ""] = versionsOf(await desk.apply({ key, value: value("2") }));
      mustBe(again > version, `what is made again has a greater version than its deletion, ${version}; got ${again}`);
    },
  },
  {
    name: "deletes nothing that somebody else changed",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      await desk.given(key, "theirs");
      mustRefuse(await desk.apply({ key, value: undefined, expected }), "the key has another version");
      await desk.has(key, "theirs");
    },
  },
  {
    name: "lets one of two win who expect the same",
    async body(desk) {
      const key = desk.key("a");
      const expected = await desk.given(key, "1");
      const results = await Promise.all(
        ["one", "two"].map((text) => desk.apply({ key, value: value(text), expected })),
      );
      const winners = results.flatMap(({ isApplied }, index) => (isApplied ? [["one", "two"][index]] : []));
      mustBe(winners.length === 1, `${winners.length} of 2 transactions with the same expectation were applied`);
      await desk.has(key, winners[0]);
    },
  },
  {
    name: "tells an empty value from a deletion",
    async body(desk) {
      const key = desk.key("a");
      versionsOf(await desk.apply({ key, value: value("") }));
      await desk.has(key, "");
    },
  },
  {
    name: "keeps keys and values byte for byte",
    needsBytes: true,
    async body(desk) {
      const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      const key = desk.key(all);
      versionsOf(await desk.apply({ key, value: all }));
      const found = await desk.driver.read(key);
      mustBe(found !== undefined && Buffer.compare(found.value, all) === 0, "what was written is not what is there");
    },
  },
];
