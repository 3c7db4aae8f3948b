import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SeededRng, seededRng } from "@tidemark/clock";
import { type TcpProxy, tcpProxy } from "@tidemark/source-etcd/testing";
import { freePorts } from "@tidemark/tooling/ports";
import type { RoleProcess } from "../../role-process.ts";
import type { PeerEvent, TopicsBrokerRole, TopicsPeerRole } from "../../roles/topics-peer-options.ts";
import type { ChaosSubject, FaultNeed } from "../chaos-loop.ts";
import { type Identity, prepareNeeds } from "../needs.ts";
import type { SmallDisk } from "../small-disk.ts";
import { Spoiler } from "../spoiler.ts";
import { Steps, type StepsOptions } from "../steps.ts";
import { readStoredTopic } from "./topic-log.ts";
import { messageText } from "./topic-messages.ts";
import { type Delivery, judgeTopics } from "./topics-oracle.ts";
import { endProcess, TopicsProcess } from "./topics-process.ts";

export interface TopicsChaosOptions extends StepsOptions {
  readonly seed: number;
}

/** What a verification found to be in order. */
export type TopicsVerified = {
  readonly messages: number;
  /** Messages that the reader got, those that came again included. */
  readonly delivered: number;
};

interface Parts {
  readonly folder: string;
  readonly port: number;
  readonly proxy: TcpProxy;
  readonly spoiler: Spoiler;
  readonly identity: Identity | undefined;
  readonly disk: SmallDisk | undefined;
}

/** More findings say nothing new. */
const maxFindings = 30;

/** A topic service on a disk, three producers and a reader, each in a process of its own, and the network between them. */
export class TopicsWorld implements ChaosSubject<TopicsVerified> {
  readonly rng: SeededRng;
  readonly steps: Steps;
  readonly broker: TopicsProcess<TopicsBrokerRole>;
  readonly writer: TopicsProcess<TopicsPeerRole>;
  readonly reader: TopicsProcess<TopicsPeerRole>;
  readonly proxy: TcpProxy;
  readonly spoiler: Spoiler;
  readonly disk: SmallDisk | undefined;
  readonly #parts: Parts;
  readonly #acknowledged = new Map<string, number>();
  readonly #committed = new Map<number, number>();
  /** … when the reader's life began. */
  #committedBefore: ReadonlyMap<number, number> = new Map();
  readonly #deliveries: Delivery[] = [];
  readonly #garbled: string[] = [];
  #watching: { readonly isIt: (event: PeerEvent) => boolean; readonly resolve: () => void }[] = [];
  #acknowledgments = 0;

  /** Use `createTopicsWorld`. */
  constructor(options: TopicsChaosOptions, parts: Parts) {
    const { port, proxy, spoiler, identity, disk } = parts;
    this.#parts = parts;
    this.rng = seededRng(options.seed);
    this.proxy = proxy;
    this.spoiler = spoiler;
    this.disk = disk;
    const scheme = identity === undefined ? "grpc" : "grpcs";
    const target = {
      connectionString: `${scheme}://127.0.0.1:${spoiler.port}/local`,
      ...(identity !== undefined && { ca: identity.ca }),
    };
    const onEvent = (event: PeerEvent) => this.#onEvent(event);
    this.broker = new TopicsProcess<TopicsBrokerRole>("topics-broker", (process) =>
      process.call("listen", { folder: this.#dataFolder, port, ...(identity !== undefined && { tls: identity }) }),
    );
    this.writer = new TopicsProcess<TopicsPeerRole>("topics-peer", (process) => process.call("write", target), onEvent);
    const read = (process: RoleProcess<TopicsPeerRole>) => {
      this.#committedBefore = new Map(this.#committed);
      return process.call("read", target);
    };
    this.reader = new TopicsProcess<TopicsPeerRole>("topics-peer", read, onEvent);
    this.steps = new Steps(options, () =>
      [
        `${this.#acknowledgments} acknowledgments`,
        ...[this.broker, this.writer, this.reader].map((each) => each.describe()),
      ].join("; "),
    );
  }

  async begin(): Promise<void> {
    await mkdir(this.#dataFolder, { recursive: true });
    this.broker.start();
    await this.broker.running();
    this.writer.start();
    this.reader.start();
    await this.settle();
  }

  async settle(): Promise<void> {
    await Promise.all([this.after(5), this.next(({ type }) => type === "committed")]);
  }

  async end(): Promise<void> {
    await endProcess(this.writer);
    await endProcess(this.reader);
    await endProcess(this.broker);
  }

  counts() {
    return {
      "kills of the service": this.broker.kills,
      "kills of clients": this.writer.kills + this.reader.kills,
      acknowledgments: this.#acknowledgments,
    };
  }

  /** Resolves with the next such event. */
  next(isIt: (event: PeerEvent) => boolean): Promise<void> {
    return new Promise((resolve) => this.#watching.push({ isIt, resolve }));
  }

  /** Resolves after so many further acknowledgments, of twenty messages each. */
  async after(acknowledgments: number): Promise<void> {
    for (let left = acknowledgments; left > 0; left--) await this.next(({ type }) => type === "acknowledged");
  }

  /** Resolves when one of the clients loses its connection. */
  disconnected(error = /./): Promise<void> {
    return this.next((event) => event.type === "disconnected" && error.test(event.error));
  }

  async verify(): Promise<TopicsVerified> {
    const writer = await this.writer.running();
    const written = await writer.call("pause");
    const total = Object.values(written).reduce((sum, last) => sum + last, 0);
    const sumOf = (ends: ReadonlyMap<number, number>) => [...ends.values()].reduce((sum, end) => sum + end, 0);
    while (sumOf(this.#committed) < total) await this.next(({ type }) => type === "committed");
    // As if it had died here: nothing that it has in memory alone counts.
    await this.broker.signal("SIGSTOP");
    const stored = readStoredTopic(this.#dataFolder);
    await this.broker.signal("SIGCONT");
    const findings = [
      ...this.#garbled.map((what) => `garbled: ${what} came with another text`),
      ...judgeTopics(
        { acknowledged: this.#acknowledged, written, deliveries: this.#deliveries, committed: this.#committed },
        stored,
        messageText,
      ),
    ];
    if (findings.length > 0) throw new Error(findings.slice(0, maxFindings).join("\n"));
    await writer.call("resume");
    const messages = [...stored.partitions.values()].reduce((sum, each) => sum + each.length, 0);
    return { messages, delivered: this.#deliveries.reduce((sum, each) => sum + each.messages.length, 0) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { folder, proxy, spoiler, disk } = this.#parts;
    for (const each of [this.writer, this.reader, this.broker]) await each.kill();
    await spoiler[Symbol.asyncDispose]();
    await proxy.close();
    await disk?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }

  get #dataFolder(): string {
    return join(this.#parts.disk?.path ?? this.#parts.folder, "data");
  }

  #onEvent(event: PeerEvent): void {
    switch (event.type) {
      case "acknowledged":
        this.#acknowledgments++;
        this.#acknowledged.set(event.producer, Math.max(event.seqNo, this.#acknowledged.get(event.producer) ?? 0));
        break;
      case "delivered": {
        const { partition, first, messages } = event;
        const committedBefore = this.#committedBefore.get(partition) ?? 0;
        this.#deliveries.push({ partition, first, messages, committedBefore });
        break;
      }
      case "committed":
        this.#committed.set(event.partition, event.end);
        break;
      case "garbled":
        this.#garbled.push(event.what);
        break;
      case "disconnected":
        break;
    }
    const due = this.#watching.filter(({ isIt }) => isIt(event));
    if (due.length === 0) return;
    this.#watching = this.#watching.filter((each) => !due.includes(each));
    for (const { resolve } of due) resolve();
  }
}

/** Everything but the processes, as the faults need it. */
export async function createTopicsWorld(
  options: TopicsChaosOptions,
  needs: ReadonlySet<FaultNeed>,
): Promise<{ readonly world: TopicsWorld; readonly lacks: ReadonlySet<FaultNeed> }> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-chaos-topics-"));
  const { disk, identity, lacks } = await prepareNeeds(needs, folder);
  const [port = 0] = await freePorts(1);
  const proxy = await tcpProxy({ target: `127.0.0.1:${port}` });
  const spoiler = await Spoiler.open(proxy.port);
  return { world: new TopicsWorld(options, { folder, port, proxy, spoiler, identity, disk }), lacks };
}
