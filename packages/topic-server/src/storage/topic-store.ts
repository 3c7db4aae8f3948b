import { type Clock, systemClock, type Timer } from "@tidemark/clock";
import { join } from "node:path";
import { TopicServerError } from "../topic-server-error.ts";
import { Catalog, type PartitionRow, type TopicRow } from "./catalog.ts";
import { evenPartitions, type PartitionDefinition, splitPartition, type TopicDefinition } from "./definition.ts";
import { diskFiles, type LogFiles, makeFolder } from "./log-files.ts";
import { memoryFiles } from "./memory-files.ts";
import { CatalogCommits } from "./catalog-commits.ts";
import { Partition, Producer, recover } from "./partition.ts";
import type { SyncPolicy } from "./log-options.ts";
import { PartitionLog } from "./partition-log.ts";
import { checkStoreOptions, type StoreOptions, topicStoreDefaults } from "./store-options.ts";
import { TailBudget } from "./tail-cache.ts";
import { Topic } from "./topic.ts";

/** Producers that were silent for longer are forgotten, as YDB does (`SourceIdLifetimeSeconds`, there of the topic). */
const producerLifeMs = 14 * 24 * 3_600_000;
/** Between looks at all of them. */
const forgetIntervalMs = 3_600_000;

/** Topics, without a network. */
export class TopicStore implements AsyncDisposable {
  readonly clock: Clock;
  readonly catalog: Catalog;
  readonly commits: CatalogCommits;
  /** How often this data was opened. */
  readonly generation: number;
  readonly #files: LogFiles;
  readonly #sync: SyncPolicy;
  readonly #segmentBytes: number;
  readonly #maintenanceIntervalMs: number;
  readonly #tail: TailBudget;
  readonly #topics = new Map<string, Topic>();
  /** Which topics change is decided one after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #closing: Promise<void> | undefined;
  /** By `monotonic()`. */
  #forgottenAtMs = Number.NEGATIVE_INFINITY;
  readonly #chores = new Set<() => Promise<void> | void>();

  private constructor(options: StoreOptions) {
    const resolved = {
      sync: options.sync ?? topicStoreDefaults.sync,
      segmentBytes: options.segmentBytes ?? topicStoreDefaults.segmentBytes,
      tailCacheBytes: options.tailCacheBytes ?? topicStoreDefaults.tailCacheBytes,
      maintenanceIntervalMs: options.maintenanceIntervalMs ?? topicStoreDefaults.maintenanceIntervalMs,
    };
    checkStoreOptions(resolved);
    const { dataDir } = options;
    this.clock = options.clock ?? systemClock;
    this.#sync = resolved.sync;
    this.#segmentBytes = resolved.segmentBytes;
    this.#maintenanceIntervalMs = resolved.maintenanceIntervalMs;
    this.#tail = new TailBudget(resolved.tailCacheBytes);
    this.catalog = new Catalog(dataDir);
    this.generation = this.catalog.starts;
    this.commits = new CatalogCommits(this.catalog, this.clock);
    this.#files = options.files ?? (dataDir === undefined ? memoryFiles() : diskFiles(join(dataDir, "topics")));
  }

  /** @throws {TopicServerError} `LOCKED`, `CORRUPT`, `OPTIONS_INVALID`, `DISK_FAILED` */
  static async open(options: StoreOptions = {}): Promise<TopicStore> {
    if (options.dataDir !== undefined) await makeFolder(options.dataDir);
    const store = new TopicStore(options);
    try {
      // Also for the files of the catalogue, which are beside it.
      await store.#files.syncFolder("");
      for (const row of store.catalog.topics()) store.#topics.set(row.definition.path, await store.#open(row));
      await store.catalog.sync();
    } catch (error) {
      for (const topic of store.topics()) await closeLogs(topic);
      store.catalog.close();
      throw error;
    }
    store.#schedule();
    return store;
  }

  topic(path: string): Topic | undefined {
    return this.#topics.get(path);
  }

  topics(): Topic[] {
    return [...this.#topics.values()];
  }

  topicById(id: number): Topic | undefined {
    return this.topics().find((topic) => topic.id === id);
  }

  /** Undefined when there is one of that path. */
  createTopic(definition: TopicDefinition): Promise<Topic | undefined> {
    return this.#change(async () => {
      if (this.#topics.has(definition.path)) return undefined;
      const partitions = evenPartitions(definition.minActivePartitions);
      const now = this.clock.now();
      const id = this.catalog.createTopic(definition, partitions, now);
      // Nobody may write to it before: what is stored would not be found again.
      try {
        await this.catalog.sync();
      } catch (error) {
        this.catalog.deleteTopic(id);
        throw error;
      }
      const topic = await this.#open({ id, createdAtMs: now, definition });
      this.#topics.set(definition.path, topic);
      return topic;
    });
  }

  /** What is written and who reads goes on. More partitions are added, never fewer. */
  alterTopic(topic: Topic, definition: TopicDefinition): Promise<void> {
    return this.#change(async () => {
      if (topic.isDropped) return;
      const active = topic.partitions.filter((partition) => partition.definition.isActive).length;
      const missing = definition.minActivePartitions - active;
      const added = missing > 0 ? evenPartitions(missing, topic.partitions.length) : [];
      this.catalog.transaction(() => {
        this.catalog.updateTopic(topic.id, definition);
        this.catalog.savePartitions(topic.id, added);
      });
      const names = new Set(definition.consumers.map(({ name }) => name));
      for (const { name } of topic.definition.consumers) if (!names.has(name)) topic.forgetConsumer(name);
      topic.definition = definition;
      await this.catalog.sync();
      await this.#add(topic, added);
      topic.tell("onAltered");
      if (added.length > 0) topic.tell("onPartitions");
    });
  }

  dropTopic(topic: Topic): Promise<void> {
    return this.#change(async () => {
      if (topic.isDropped) return;
      this.catalog.deleteTopic(topic.id);
      topic.isDropped = true;
      this.#topics.delete(topic.path);
      topic.tell("onDropped");
      await closeLogs(topic);
      // Else a crash could bring back the topic, without its files.
      await this.catalog.sync();
      await this.#files.remove(String(topic.id));
    });
  }

  /** Closes a partition for writing, and opens two in its place. @returns whether it could. */
  splitPartition(topic: Topic, id: number): Promise<boolean> {
    return this.#change(async () => {
      const parent = topic.partitions[id];
      if (parent === undefined || topic.isDropped || !parent.definition.isActive) return false;
      const children = splitPartition(parent.definition, topic.partitions.length);
      if (children === undefined) return false;
      const open = parent.definition;
      const closed = { ...open, isActive: false, children: children.map((child) => child.id) };
      // Before anybody can write to a child, it is settled what its producers had written to the parent.
      parent.definition = closed;
      await parent.log.flush();
      try {
        this.catalog.savePartitions(topic.id, [closed, ...children]);
      } catch (error) {
        parent.definition = open;
        throw error;
      }
      await this.catalog.sync();
      await this.#add(topic, children);
      topic.tell("onPartitions");
      return true;
    });
  }

  /** Runs with the store's own maintenance. @returns a function that takes it out again. */
  addChore(chore: () => Promise<void> | void): () => void {
    this.#chores.add(chore);
    return () => this.#chores.delete(chore);
  }

  /**
   * What the timer does: retention, checkpoints, chores. What fails keeps nothing else from its turn.
   *
   * @throws the first error that there was, at the end.
   */
  async maintain(): Promise<void> {
    const errors: unknown[] = [];
    const attempt = async (work: () => Promise<void> | void): Promise<void> => {
      try {
        await work();
      } catch (error) {
        errors.push(error);
      }
    };
    const isForgetting = this.clock.monotonic() - this.#forgottenAtMs >= forgetIntervalMs;
    if (isForgetting) this.#forgottenAtMs = this.clock.monotonic();
    for (const topic of this.topics()) {
      for (const partition of topic.partitions) {
        if (topic.isDropped) break;
        await attempt(() => this.#retain(topic, partition));
        if (isForgetting) await attempt(() => this.#forgetProducers(topic, partition));
      }
    }
    for (const chore of this.#chores) await attempt(chore);
    if (errors.length > 0) throw errors[0];
  }

  /** Idempotent. Everything taken is stored or refused, and everything known is written down. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#timer?.cancel();
    await this.#changes.catch(() => {});
    await this.commits.flush();
    for (const topic of this.topics()) {
      for (const partition of topic.partitions) {
        // What is not on the disk for certain is read again at the next start, and so is what cannot be written down.
        if (!(await partition.log.close())) continue;
        try {
          this.#checkpoint(topic.id, partition);
        } catch {}
      }
    }
    this.catalog.close();
  }

  #schedule(): void {
    this.#timer = this.clock
      .setTimer(this.#maintenanceIntervalMs, () => {
        // What fails now, for example for want of room, is tried again.
        this.maintain()
          .catch(() => {})
          .finally(() => {
            if (this.#closing === undefined) this.#schedule();
          });
      })
      .unref();
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) {
      return Promise.reject(new TopicServerError("CLOSED", "The store is closed"));
    }
    const done = this.#changes.then(work, work);
    this.#changes = done.catch(() => {});
    return done;
  }

  async #open(row: TopicRow): Promise<Topic> {
    const committed = new Map<string, Map<number, number>>();
    const topic = new Topic(row.id, row.createdAtMs, row.definition, [], committed);
    for (const { consumer, partition, offset } of this.catalog.offsets(row.id)) {
      topic.setCommittedOffset(consumer, partition, offset);
    }
    try {
      for (const partition of this.catalog.partitions(row.id)) await this.#openPartition(topic, partition);
    } catch (error) {
      await closeLogs(topic);
      throw error;
    }
    return topic;
  }

  async #add(topic: Topic, partitions: readonly PartitionDefinition[]): Promise<void> {
    for (const each of partitions) await this.#openPartition(topic, { ...each, startOffset: 0, checkpointOffset: 0 });
  }

  async #openPartition(topic: Topic, row: PartitionRow): Promise<void> {
    const producers = new Map<string, Producer>();
    const utf8 = new TextEncoder();
    for (const { producer, lastSeqNo, lastWrittenAtMs } of this.catalog.producers(topic.id, row.id)) {
      const seqNo = lastSeqNo <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(lastSeqNo) : lastSeqNo;
      producers.set(producer, new Producer(producer, utf8.encode(producer), seqNo, lastWrittenAtMs));
    }
    const opened: { partition?: Partition } = {};
    const log = await PartitionLog.open({
      files: this.#files,
      folder: `${topic.id}/${row.id}`,
      clock: this.clock,
      sync: this.#sync,
      segmentBytes: this.#segmentBytes,
      tail: this.#tail,
      sealed: this.catalog.segments(topic.id, row.id),
      startOffset: row.startOffset,
      checkpointOffset: row.checkpointOffset,
      onRecovered: (record) => recover(producers, record),
      onSealed: (meta) => {
        this.catalog.transaction(() => {
          this.catalog.addSegment(topic.id, row.id, meta);
          if (opened.partition !== undefined) this.#checkpoint(topic.id, opened.partition);
        });
      },
      // What is trimmed was sealed, and so its producers are written down.
      onTrim: (offset) => {
        this.catalog.trim(topic.id, row.id, offset);
        return this.catalog.sync();
      },
      onVisible: () => topic.tellVisible(row.id),
    });
    const { startOffset: _start, checkpointOffset: _checkpoint, ...definition } = row;
    const parents = definition.parents.map((id) => topic.partitions[id]).filter((parent) => parent !== undefined);
    opened.partition = new Partition(definition, log, producers, parents);
    topic.partitions[row.id] = opened.partition;
  }

  #checkpoint(topicId: number, partition: Partition): void {
    const { endOffset } = partition.log;
    partition.checkpoint((changed) => this.catalog.checkpoint(topicId, partition.id, endOffset, changed));
  }

  #forgetProducers(topic: Topic, partition: Partition): void {
    const beforeMs = this.clock.now() - producerLifeMs;
    this.catalog.forgetProducers(topic.id, partition.id, beforeMs);
    partition.forgetProducers(beforeMs);
  }

  async #retain(topic: Topic, partition: Partition): Promise<void> {
    const { retentionMs, retentionBytes, consumers } = topic.definition;
    const important = topic.floor(partition.id, (consumer) => consumer.important);
    const available = topic.floor(partition.id, (consumer) => consumer.availabilityPeriodMs > 0);
    await partition.log.retain(retentionMs, retentionBytes, Math.min(important, available));
    if (available >= important) return;
    const longestMs = Math.max(retentionMs, ...consumers.map((consumer) => consumer.availabilityPeriodMs));
    await partition.log.retain(longestMs, 0, important);
  }
}

async function closeLogs({ partitions }: Topic): Promise<void> {
  for (const { log } of partitions) await log.close();
}
