import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import type { Clock, Rng } from "@tidemark/clock";
import { Access, ReadSession, Service, topicDefaults, TopicStore, WriteSession } from "@tidemark/topic-server/internal";

const path = "/local/group";

/** The real topic service on its real store, without sockets and without a disk. */
export class TopicNode {
  readonly #store: TopicStore;
  readonly #clock: Clock;
  readonly #rng: Rng;
  #service: Service | undefined;

  private constructor(store: TopicStore, clock: Clock, rng: Rng) {
    this.#store = store;
    this.#clock = clock;
    this.#rng = rng;
  }

  static async open(options: {
    readonly clock: Clock;
    readonly rng: Rng;
    readonly consumers: readonly string[];
    readonly retentionMs: number;
  }): Promise<TopicNode> {
    const { clock, rng, consumers, retentionMs } = options;
    const store = await TopicStore.open({ clock, segmentBytes: 4096, maintenanceIntervalMs: 10_000 });
    await store.createTopic({
      ...topicDefaults,
      path,
      retentionMs,
      consumers: consumers.map((name) => ({
        name,
        important: false,
        readFromMs: 0,
        codecs: [],
        attributes: {},
        availabilityPeriodMs: 0,
      })),
    });
    const node = new TopicNode(store, clock, rng);
    await node.start();
    return node;
  }

  /** Serves a stream; undefined while it is down. */
  readonly serve = (kind: "read" | "write", call: FrameCall): CallReceiver | undefined => {
    if (this.#service === undefined) return undefined;
    return kind === "read" ? new ReadSession(this.#service, call) : new WriteSession(this.#service, call);
  };

  /** What the service knew besides its store is gone. With notice its clients are told. */
  stop(withNotice: boolean): void {
    const service = this.#service;
    this.#service = undefined;
    if (withNotice) service?.endSessions();
  }

  async start(): Promise<void> {
    const store = this.#store;
    const access = new Access(undefined, this.#rng.bytes(32), this.#clock);
    const service = new Service({ store, access, database: "/local", clock: this.#clock, rng: this.#rng });
    await service.transactions.recover();
    this.#service = service;
  }

  /** Every record of the log: who wrote which numbers. */
  async records(): Promise<readonly { readonly producer: string; readonly first: bigint; readonly last: bigint }[]> {
    const log = this.#store.topic(path)?.partitions[0]?.log;
    if (log === undefined) return [];
    const records = [];
    for (let offset = log.startOffset; offset < log.endOffset; ) {
      const some = await log.read(offset, 1024 * 1024);
      if (some.length === 0) break;
      for (const record of some) {
        const producer = Buffer.from(record.producer).toString();
        records.push({ producer, first: record.firstSeqNo, last: record.lastSeqNo });
        offset = record.baseOffset + record.count;
      }
    }
    return records;
  }

  /** The first offset that is left: above 0, retention took something. */
  get startOffset(): number {
    return this.#store.topic(path)?.partitions[0]?.log.startOffset ?? 0;
  }

  async close(): Promise<void> {
    this.stop(false);
    await this.#store.close();
  }
}
