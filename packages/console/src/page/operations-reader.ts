import type { Clock, Timer } from "@tidemark/clock";
import type {
  Migration,
  MigrationsResponse,
  SitesResponse,
  StatusResponse,
  TopicsResponse,
} from "../gen/tidemark/admin/v1/admin_pb.ts";
import { messageOf } from "./latest.ts";
import type { AdminClient } from "./link-protocol.ts";
import { addHole, addTopics, type AllTopicSamples } from "./state/topic-samples.ts";

/** Something that is asked for again and again. What was read last stays while an error is told. */
interface Part<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
}

/** What the daemon does besides following streams. */
export interface OperationsView {
  readonly topics: Part<TopicsResponse>;
  readonly migrations: Part<MigrationsResponse>;
  readonly sites: Part<SitesResponse>;
  readonly topicSamples: AllTopicSamples;
}

const nothing = { value: undefined, error: undefined };
const noOperations: OperationsView = {
  topics: nothing,
  migrations: nothing,
  sites: nothing,
  topicSamples: new Map(),
};

/** How often it is asked, in milliseconds. */
const intervalMs = 2_000;
/** How long an answer is waited for, in milliseconds. */
const timeoutMs = 8_000;

/**
 * Asks for topics, migrations and sites while the page is connected, one after the other: a browser has only six
 * connections to one server, and two are taken.
 */
export class OperationsReader {
  readonly #client: AdminClient;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #onSites: () => void;
  #run: AbortController | undefined;
  #timer: Timer | undefined;
  #has: Pick<StatusResponse, "topicsUrl" | "migrationDatabases" | "sites"> | undefined;
  #topic = "";
  state: OperationsView = noOperations;

  /** @param onSites is called after sites were asked for, when what they decided may show. */
  constructor(client: AdminClient, clock: Clock, onChange: () => void, onSites: () => void) {
    this.#client = client;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#onSites = onSites;
  }

  /** What there is to ask for. */
  take(status: StatusResponse): void {
    const isNews =
      this.#has === undefined ||
      (this.#has.topicsUrl === "") !== (status.topicsUrl === "") ||
      this.#has.migrationDatabases !== status.migrationDatabases ||
      this.#has.sites !== status.sites;
    this.#has = status;
    if (isNews && this.#run !== undefined) this.refresh();
  }

  /** Of which topic the partitions are wanted; empty: of none. */
  show(topic: string): void {
    if (topic === this.#topic) return;
    this.#topic = topic;
    if (this.#run !== undefined) this.refresh();
  }

  /** Asks from now on. */
  start(): void {
    if (this.#run === undefined) this.refresh();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#run?.abort();
    this.#run = undefined;
    this.state = { ...this.state, topicSamples: addHole(this.state.topicSamples, this.#clock.now()) };
  }

  /** Asks now, and drops what was asked before. */
  refresh(): void {
    this.#timer?.cancel();
    this.#run?.abort();
    const run = new AbortController();
    this.#run = run;
    void this.#round(run.signal);
  }

  /** A migration changed under our hands: shown before it is read again. */
  replace(database: string, migration: Migration): void {
    const { value } = this.state.migrations;
    if (value === undefined) return;
    const databases = value.databases.map((each) =>
      each.name === database
        ? { ...each, migrations: each.migrations.map((old) => (old.name === migration.name ? migration : old)) }
        : each,
    );
    this.#set({ migrations: { value: { ...value, databases }, error: undefined } });
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { topicsUrl = "", migrationDatabases = 0, sites = 0 } = this.#has ?? {};
    const options = { signal, timeoutMs };
    if (topicsUrl !== "") {
      const topics = await read(this.state.topics, this.#client.topics({ detailOf: this.#topic }, options));
      if (signal.aborted) return;
      const atMs = this.#clock.now();
      const topicSamples =
        topics.error === undefined && topics.value !== undefined
          ? addTopics(this.state.topicSamples, topics.value.topics, atMs)
          : addHole(this.state.topicSamples, atMs);
      this.#set({ topics, topicSamples });
    }
    if (migrationDatabases > 0) {
      const migrations = await read(this.state.migrations, this.#client.migrations({}, options));
      if (signal.aborted) return;
      this.#set({ migrations });
    }
    if (sites > 0) {
      const all = await read(this.state.sites, this.#client.sites({}, options));
      if (signal.aborted) return;
      this.#set({ sites: all });
      this.#onSites();
    }
    this.#timer = this.#clock.setTimer(intervalMs, () => void this.#round(signal));
  }

  #set(change: Partial<OperationsView>): void {
    this.state = { ...this.state, ...change };
    this.#onChange();
  }
}

async function read<T>(before: Part<T>, answer: Promise<T>): Promise<Part<T>> {
  try {
    return { value: await answer, error: undefined };
  } catch (error) {
    return { value: before.value, error: messageOf(error) };
  }
}
