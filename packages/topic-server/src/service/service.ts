import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Rng } from "@tidemark/clock";
import type { TopicStore } from "../storage/topic-store.ts";
import { StatusCode } from "@tidemark/topic/internal";
import type { Topic } from "../storage/topic.ts";
import type { Access, Identity, Right } from "./access.ts";
import { ReadGroups } from "./read-groups.ts";
import { ReadStats } from "./read-stats.ts";
import { Refusal } from "./refusal.ts";
import { Transactions } from "./transactions.ts";

export interface ServiceOptions {
  readonly store: TopicStore;
  readonly access: Access;
  readonly database: string;
  readonly clock: Clock;
  readonly rng: Rng;
}

/** Where partitions are. */
export interface PartitionLocation {
  readonly nodeId: number;
  /** Grows when they move, and here they move only in time: from one start of the server to the next. */
  readonly generation: bigint;
}

/** What all sessions and calls of one server share. */
export class Service {
  readonly store: TopicStore;
  readonly access: Access;
  readonly database: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly location: PartitionLocation;
  readonly groups = new ReadGroups();
  readonly readStats = new ReadStats();
  readonly transactions: Transactions;
  readonly #sessions = new Set<(error: unknown) => void>();
  #isClosing = false;
  /** Who writes under a producer's name: the newest session. */
  readonly #writers = new Map<string, () => void>();

  constructor(options: ServiceOptions) {
    this.store = options.store;
    this.access = options.access;
    this.database = options.database;
    this.clock = options.clock;
    this.rng = options.rng;
    this.location = { nodeId: 1, generation: BigInt(options.store.generation) };
    this.transactions = new Transactions(options.store, options.rng);
  }

  /** A stream that wants to be told when the server closes. @returns a function that takes it out again. */
  addSession(refuse: (error: unknown) => void): () => void {
    this.#sessions.add(refuse);
    return () => this.#sessions.delete(refuse);
  }

  /**
   * How gRPC ends a stream after the service's last word: well, but for the end of the server. Then whoever does not read
   * it is not waited for, and clients that know only gRPC's status come back, too.
   */
  get streamError(): ConnectError | undefined {
    return this.#isClosing ? new ConnectError("The server is closing", Code.Unavailable) : undefined;
  }

  /** Tells all streams, in the words of the service, before the connections go. */
  endSessions(): void {
    this.#isClosing = true;
    for (const refuse of this.#sessions) refuse(new Refusal(StatusCode.UNAVAILABLE, "The server is closing"));
  }

  /** Ends all streams; their clients come back, and are asked anew who they are. */
  renewSessions(): void {
    for (const refuse of this.#sessions) refuse(new Refusal(StatusCode.UNAVAILABLE, "The users have changed"));
  }

  /** Paths may be relative to the database. */
  absolute(path: string, headers: Headers): string {
    const trimmed = path.replace(/\/+$/, "");
    if (trimmed.startsWith("/")) return trimmed;
    const asked = headers.get("x-ydb-database") ?? "";
    return `${asked === "" ? this.database : asked.replace(/\/+$/, "")}/${trimmed}`;
  }

  /** How YDB names a topic to who reads it: within the database. */
  relative(path: string): string {
    return path.startsWith(`${this.database}/`) ? path.slice(this.database.length + 1) : path;
  }

  /** @throws {Refusal} `SCHEME_ERROR` when there is none, `UNAUTHORIZED` when it is not for this client. */
  topic(path: string, headers: Headers, identity: Identity, right: Right): Topic {
    const absolute = this.absolute(path, headers);
    // Whoever may not know about a topic is told the same whether it is there or not.
    if (!this.access.allows(identity, absolute, right)) {
      throw new Refusal(StatusCode.UNAUTHORIZED, `${identity.user} may not ${right} ${absolute}`);
    }
    const topic = this.store.topic(absolute);
    if (topic === undefined) throw new Refusal(StatusCode.SCHEME_ERROR, `There is no topic ${absolute}`);
    return topic;
  }

  /** The newest session of a producer wins: `onReplaced` is called when another takes its place. */
  claimProducer(topic: Topic, producer: string, onReplaced: () => void): () => void {
    const key = `${topic.id}/${producer}`;
    const before = this.#writers.get(key);
    this.#writers.set(key, onReplaced);
    before?.();
    return () => {
      if (this.#writers.get(key) === onReplaced) this.#writers.delete(key);
    };
  }
}
