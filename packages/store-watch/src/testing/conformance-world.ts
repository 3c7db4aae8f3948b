import { type Clock, systemClock } from "@tidemark/clock";
import type { ResumePoint, Source, SourceCapabilities } from "../contract.ts";
import { keyId, type StoreOperation } from "./reference-store.ts";
import { ConformanceError, type ProbedGroup, SourceProbe } from "./source-probe.ts";

/** What the suite does to the store behind the source. */
export interface ConformanceDriver {
  /** Does these writes: all at once where the source is `transactional`, else in order. Returns when they are accepted. */
  apply(operations: readonly StoreOperation[]): Promise<void>;
  /**
   * A key within the source's scope, made of these bytes.
   * @default the bytes themselves
   */
  key?(bytes: Uint8Array): Uint8Array;
  /** Breaks the connection of the source. */
  disconnect?(): Promise<void>;
  /** Makes the store forget single changes up to now, so that earlier cursors are too old. */
  compact?(): Promise<void>;
  /** Puts an empty store of another identity in the place of this one. */
  replace?(): Promise<void>;
}

/** What the suite is about. */
export interface ConformanceOptions {
  /** A new source, not running, over the driver's store. */
  open(): Source | Promise<Source>;
  readonly driver: ConformanceDriver;
  /** What the source declares: checks that need more are skipped by name. */
  readonly capabilities: SourceCapabilities;
  /**
   * Whether keys may be any bytes. Otherwise the keys are ASCII text.
   * @default true
   */
  readonly binaryKeys?: boolean;
  /**
   * Whether who was away is told only the last change of each key, as by a source that keeps no log but what there is.
   * @default false
   */
  readonly isCoalescing?: boolean;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /**
   * How long anything may take, in milliseconds.
   * @default 10_000
   */
  readonly timeoutMs?: number;
}

/** What one check works with: keys of its own, and probes that are stopped behind it. */
export class World {
  readonly #options: ConformanceOptions;
  readonly #index: number;
  readonly #probes: SourceProbe[] = [];

  constructor(options: ConformanceOptions, index: number) {
    this.#options = options;
    this.#index = index;
  }

  get driver(): ConformanceDriver {
    return this.#options.driver;
  }

  get capabilities(): SourceCapabilities {
    return this.#options.capabilities;
  }

  get binaryKeys(): boolean {
    return this.#options.binaryKeys ?? true;
  }

  get isCoalescing(): boolean {
    return this.#options.isCoalescing ?? false;
  }

  /** A key that no other check uses. */
  key(name: string | Uint8Array): Uint8Array {
    const prefix = new TextEncoder().encode(`check-${this.#index}/`);
    const bytes = typeof name === "string" ? new TextEncoder().encode(name) : name;
    const own = Uint8Array.from([...prefix, ...bytes]);
    return this.#options.driver.key?.(own) ?? own;
  }

  put(name: string | Uint8Array, value: string | Uint8Array): Promise<void> {
    return this.apply([[name, value]]);
  }

  delete(name: string | Uint8Array): Promise<void> {
    return this.apply([[name, undefined]]);
  }

  async apply(writes: readonly (readonly [name: string | Uint8Array, value: string | Uint8Array | undefined])[]) {
    await this.driver.apply(
      writes.map(([name, value]) => ({
        key: this.key(name),
        value: typeof value === "string" ? bytesOf(value) : value,
      })),
    );
  }

  open(): Promise<Source> {
    return Promise.resolve(this.#options.open());
  }

  probe(): SourceProbe {
    const probe = new SourceProbe(this.#options.clock ?? systemClock, this.#options.timeoutMs ?? 10_000);
    this.#probes.push(probe);
    return probe;
  }

  async start(from?: ResumePoint): Promise<SourceProbe> {
    return this.probe().start(await this.open(), from);
  }

  /** Waits until a key has this value; undefined: until it is gone. */
  async sees(probe: SourceProbe, name: string | Uint8Array, value: string | Uint8Array | undefined): Promise<void> {
    const wanted = typeof value === "string" ? bytesOf(value) : value;
    await probe.until(`${textOf(name)} to be ${wanted === undefined ? "gone" : `${wanted.length} bytes`}`, () =>
      this.has(probe, name, wanted),
    );
  }

  has(probe: SourceProbe, name: string | Uint8Array, wanted: Uint8Array | undefined): boolean {
    const value = probe.state.get(keyId(this.key(name)));
    if (value === undefined || wanted === undefined) return value === wanted;
    return Buffer.compare(value, wanted) === 0;
  }

  /** A source that looks now and then has snapshots with gaps between them and nothing else, and says so. */
  onlySnapshots(probe: SourceProbe): boolean {
    return !this.capabilities.resumable && probe.groups.length === 0;
  }

  /** A key's changes in the groups that came, as text; `undefined` for deletions. */
  changesOf(groups: readonly ProbedGroup[], name: string): (string | undefined)[] {
    const id = keyId(this.key(name));
    const changes = groups.flatMap((group) => group.changes).filter((change) => keyId(change.key) === id);
    return changes.map(({ value }) => (value === undefined ? undefined : new TextDecoder().decode(value)));
  }

  async stop(): Promise<void> {
    for (const probe of this.#probes) await probe.stop();
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function textOf(name: string | Uint8Array): string {
  return typeof name === "string" ? name : Buffer.from(name).toString("hex");
}

export function mustBe(holds: boolean, otherwise: string): void {
  if (!holds) throw new ConformanceError(otherwise);
}

/** For comparing and for messages. */
export const show = (values: readonly unknown[]) => JSON.stringify(values.map((value) => value ?? null));

/** What was redelivered may come again in front; after it everything must be there, once and in order. */
export function mustEndWith(got: readonly unknown[], wanted: readonly unknown[], where: string): void {
  const end = got.slice(Math.max(0, got.length - wanted.length));
  mustBe(show(end) === show(wanted), `${where}: expected the changes ${show(wanted)}, got ${show(got)}`);
}
