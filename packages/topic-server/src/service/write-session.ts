import { fromBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type { CallReceiver, FrameCall } from "@tidemark/connect-transport";
import {
  encodeSessionMeta,
  scanWriteRequest,
  StatusCode,
  topicWire,
  type WriteColumns,
} from "@tidemark/topic/internal";
import type { Partition, PendingWrite, Producer, WriteListener } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import type { TopicServerError } from "../topic-server-error.ts";
import type { Identity } from "./access.ts";
import { AckQueue } from "./ack-queue.ts";
import { writeAnswer, writeFailure } from "./messages.ts";
import { inactivePartition, Refusal, refusalOf } from "./refusal.ts";
import type { Service } from "./service.ts";
import { type InitRequest, type WriteEvent, writeSessionNext, type WriteState } from "./write-session-state.ts";

/** On the way to the disk for one session before its client is held back. */
const maxInFlightBytes = 16 * 1024 * 1024;

interface Open {
  readonly topic: Topic;
  readonly partition: Partition;
  readonly producer: Producer | undefined;
  readonly meta: Uint8Array;
}

/** One StreamWrite call: the rules of `write-session-state.ts` on a stream and a partition. */
export class WriteSession implements CallReceiver, WriteListener {
  readonly #service: Service;
  readonly #call: FrameCall;
  #identity: Identity;
  #state: WriteState = "init";
  #open: Open | undefined;
  /** The partition is being found, or a request waits for its quota: whatever comes meanwhile waits outside. */
  #waiting: Promise<void> | undefined;
  readonly #acks = new AckQueue();
  #isAckDue = false;
  #inFlightBytes = 0;
  #isFinishing = false;
  /** The client does not read what it is told. */
  #isSendFull = false;
  /** Wakes a request that waits for the quota. */
  #alarm: AbortController | undefined;
  #room: PromiseWithResolvers<void> | undefined;
  readonly #releases: (() => void)[] = [];
  /** Ends the call instead of a status of YDB. */
  #grpcError: ConnectError | undefined;

  constructor(service: Service, call: FrameCall) {
    this.#service = service;
    this.#call = call;
    this.#identity = { user: "", rights: [] };
    this.#releases.push(service.addSession((error) => this.#refuse(error)));
    try {
      this.#identity = service.access.identify(call.headers);
    } catch (error) {
      this.#refuse(error);
    }
    call.signal.addEventListener("abort", () => this.#release(), { once: true });
  }

  frames(frames: readonly Uint8Array[]): void | Promise<void> {
    for (let index = 0; index < frames.length; index++) {
      this.#take(frames[index] as Uint8Array);
      if (this.#waiting !== undefined) {
        const rest = frames.slice(index + 1);
        return this.#waiting.then(() => (rest.length > 0 ? this.frames(rest) : this.#holdBack()));
      }
    }
    return this.#holdBack();
  }

  end(): void {
    const finish = () => this.#event({ type: "clientEnded" });
    if (this.#waiting === undefined) finish();
    else void this.#waiting.then(finish);
  }

  onWritten(write: PendingWrite): void {
    this.#inFlightBytes -= write.columns.frame.length;
    if (!this.#isAckDue) {
      this.#isAckDue = true;
      queueMicrotask(this.#onAckDue);
    }
    if (this.#room !== undefined && this.#inFlightBytes < maxInFlightBytes / 2) {
      this.#room.resolve();
      this.#room = undefined;
    }
  }

  onWriteFailed(_write: PendingWrite, error: TopicServerError): void {
    // A client that has half-closed waits for its acks all the same.
    if (this.#isFinishing) this.#fail(refusalOf(error));
    else this.#refuse(error);
  }

  #take(frame: Uint8Array): void {
    try {
      const columns = scanWriteRequest(frame);
      if (columns !== undefined) {
        this.#event({ type: "write", columns, codecs: this.#open?.topic.definition.codecs ?? [] });
        return;
      }
      const { clientMessage } = fromBinary(topicWire.StreamWriteMessage_FromClientSchema, frame);
      if (clientMessage.case === "initRequest") this.#event({ type: "init", request: clientMessage.value });
      else if (clientMessage.case === "updateTokenRequest")
        this.#event({ type: "token", token: clientMessage.value.token });
      else this.#event({ type: "unset" });
    } catch (error) {
      this.#event({ type: "invalid", detail: error instanceof Error ? error.message : "not a valid message" });
    }
  }

  #event(event: WriteEvent): void {
    const [state, effect] = writeSessionNext(this.#state, event);
    this.#state = state;
    if (effect === undefined) return;
    switch (effect.type) {
      case "append":
        this.#append(effect.columns);
        return;
      case "open":
        this.#wait(this.#connect(effect.request));
        return;
      case "checkToken":
        this.#checkToken(effect.token);
        return;
      case "fail":
        this.#fail(new Refusal(effect.status, effect.detail, effect.issueCode));
        return;
      case "finish":
        this.#isFinishing = true;
        this.#acknowledge();
        return;
    }
  }

  /** The last word. */
  #fail({ status, message, issueCode }: Refusal): void {
    this.#acknowledge();
    this.#isFinishing = false;
    if (this.#grpcError === undefined) this.#call.send(writeFailure(status, message, issueCode));
    this.#call.end(this.#grpcError ?? this.#service.streamError);
    this.#release();
  }

  #refuse(error: unknown): void {
    if (error instanceof ConnectError) this.#grpcError = error;
    const { status, message, issueCode } = refusalOf(error);
    this.#event({ type: "refused", status, detail: message, issueCode });
  }

  #wait(work: Promise<void>): void {
    this.#waiting = work
      .catch((error: unknown) => this.#refuse(error))
      .finally(() => {
        this.#waiting = undefined;
      });
  }

  #append(columns: WriteColumns): void {
    const waitMs = this.#takeQuota(columns);
    if (waitMs === 0) this.#store(columns, 0);
    else this.#wait(this.#storeLater(columns, waitMs));
  }

  #takeQuota(columns: WriteColumns): number {
    const { partition, producer, topic } = this.#open as Open;
    // What was written before a reconnect is not written again.
    if (producer !== undefined && columns.seqNo(columns.length - 1) <= producer.lastSeqNo) return 0;
    const { writeSpeedBytesPerSecond: speed, writeBurstBytes: burst } = topic.definition;
    if (speed <= 0) return 0;
    return partition.quota.take(columns.frame.length, this.#service.clock.monotonic(), speed, burst);
  }

  /** Once what others took from the quota is paid for. */
  async #storeLater(columns: WriteColumns, firstWaitMs: number): Promise<void> {
    const { partition } = this.#open as Open;
    const { clock } = this.#service;
    const sinceMs = clock.monotonic();
    let waitMs = firstWaitMs;
    while (waitMs > 0) {
      const alarm = new AbortController();
      this.#alarm = alarm;
      await clock.sleep(waitMs, { signal: alarm.signal, isRef: false }).catch(() => {});
      this.#alarm = undefined;
      if (!alarm.signal.aborted && this.#state !== "closed") break;
      // The session is over, or the topic has another speed now.
      partition.quota.giveBack(columns.frame.length);
      if (this.#state === "closed") return;
      waitMs = this.#takeQuota(columns);
    }
    this.#store(columns, clock.monotonic() - sinceMs);
  }

  #store(columns: WriteColumns, quotaMs: number): void {
    const { partition, producer, meta, topic } = this.#open as Open;
    const { clock, transactions } = this.#service;
    const { frame, tx } = columns;
    try {
      // It is closed before everybody is told of it, and readers may have read it to its end.
      if (!partition.definition.isActive) throw inactivePartition(partition.id);
      this.#checkOwed(topic, partition, producer);
      // Counted first: what fails is told at once.
      this.#inFlightBytes += frame.length;
      const write =
        tx === undefined
          ? partition.write(columns, producer, meta, clock.now(), this)
          : transactions.write(tx, { topic, partition, producer, meta, columns, listener: this });
      this.#acks.push(write, tx !== undefined, quotaMs);
    } catch (error) {
      this.#refuse(error);
    }
  }

  async #connect(request: InitRequest): Promise<void> {
    const { path, producerId: named, partitioning, writeSessionMeta } = request;
    const topic = this.#service.topic(path, this.#call.headers, this.#identity, "write");
    const group = partitioning.case === "messageGroupId" ? partitioning.value : "";
    const producerId = named === "" ? group : named;
    const partition = this.#choose(topic, producerId, partitioning);
    const producer = producerId === "" ? undefined : partition.producer(producerId);
    if (producer !== undefined) {
      producer.sessions++;
      this.#releases.push(() => producer.sessions--);
      const replaced = () =>
        this.#refuse(new Refusal(StatusCode.SESSION_EXPIRED, `Another session writes as ${producerId} now`));
      this.#releases.push(this.#service.claimProducer(topic, producerId, replaced));
      // What is still on its way to the disk may fail, and then it was not written.
      if (producer.lastSeqNo !== producer.storedSeqNo) await partition.log.flush();
      const { commits } = this.#service.store;
      if (commits.partitionOf(topic, producerId) !== partition.id) await commits.bind(topic, producerId, partition.id);
    }
    if (this.#state !== "opening") return;
    // Nobody was told of what happened while the disk was waited for.
    if (topic.isDropped) throw new Refusal(StatusCode.SCHEME_ERROR, `The topic ${topic.path} was dropped`);
    if (!partition.definition.isActive) throw inactivePartition(partition.id);
    this.#checkOwed(topic, partition, producer);
    this.#open = { topic, partition, producer, meta: encodeSessionMeta(writeSessionMeta) };
    this.#releases.push(
      topic.listen({
        onDropped: () => this.#refuse(new Refusal(StatusCode.SCHEME_ERROR, `The topic ${topic.path} was dropped`)),
        onAltered: () => this.#alarm?.abort(),
        onPartitions: () => {
          if (partition.definition.isActive) return;
          this.#refuse(inactivePartition(partition.id));
        },
      }),
    );
    this.#event({ type: "opened" });
    const value = {
      lastSeqNo: BigInt(producer?.lastSeqNo ?? 0),
      sessionId: this.#service.rng.uuid(),
      partitionId: BigInt(partition.id),
      supportedCodecs: { codecs: [...topic.definition.codecs] },
    };
    this.#call.send(writeAnswer({ case: "initResponse", value }));
  }

  #choose(topic: Topic, producerId: string, partitioning: InitRequest["partitioning"]): Partition {
    const explicit =
      partitioning.case === "partitionId"
        ? partitioning.value
        : partitioning.case === "partitionWithGeneration"
          ? partitioning.value.partitionId
          : undefined;
    if (explicit !== undefined) {
      const partition = topic.partitions[Number(explicit)];
      if (partition === undefined) {
        throw new Refusal(StatusCode.SCHEME_ERROR, `${topic.path} has no partition ${explicit}`);
      }
      if (!partition.definition.isActive) throw inactivePartition(partition.id);
      if (partitioning.case === "partitionWithGeneration") this.#checkGeneration(partitioning.value);
      if (producerId !== "") this.#checkBinding(topic, producerId, partition);
      return partition;
    }
    // Without a name there is nothing to keep in order.
    if (producerId === "") {
      const active = topic.partitions.filter((each) => each.definition.isActive);
      if (active.length === 0) throw inactivePartition(0);
      return this.#service.rng.pick(active);
    }
    const bound = this.#service.store.commits.partitionOf(topic, producerId);
    const partition = topic.partitionOfKey(producerId, bound);
    if (!partition.definition.isActive) throw inactivePartition(partition.id);
    return partition;
  }

  /**
   * Its sequence numbers are known where it wrote, and nowhere else: in another partition its duplicates would be taken for
   * new. So does YDB (`OnPartitionChosen` of `TSMPartitionChooserActor` in core/persqueue/writer).
   */
  #checkBinding(topic: Topic, producerId: string, partition: Partition): void {
    const bound = this.#service.store.commits.partitionOf(topic, producerId);
    if (bound === undefined || topic.isHeir(bound, partition)) return;
    if (topic.partitions[bound]?.hasWritten(producerId) !== true) return;
    throw new Refusal(
      StatusCode.BAD_REQUEST,
      `producer "${producerId}" is bound to partition ${bound}, got partition ${partition.id}: ` +
        "take another producer_id, or name no partition",
    );
  }

  #checkOwed(topic: Topic, partition: Partition, producer: Producer | undefined): void {
    if (producer === undefined || !this.#service.transactions.isOwed(topic, partition, producer)) return;
    const text = `What ${producer.name} wrote in a transaction waits for room on the server's disk`;
    throw new Refusal(StatusCode.OVERLOADED, text);
  }

  /**
   * A direct write goes to the node where the client saw the partition. YDB's writer drops the session when the partition
   * has moved on since (`PartitionNotLocal` in core/persqueue/writer/writer.cpp), which its write session tells as
   * TABLET_PIPE_DISCONNECTED, and that is UNAVAILABLE.
   */
  #checkGeneration({ partitionId, generation }: { readonly partitionId: bigint; readonly generation: bigint }): void {
    const { generation: now } = this.#service.location;
    if (generation === now) return;
    const text = `Partition ${partitionId} has generation ${now}, not ${generation}: describe the topic anew`;
    throw new Refusal(StatusCode.UNAVAILABLE, text);
  }

  /** Once all that the disk took together is known. */
  readonly #onAckDue = (): void => {
    this.#isAckDue = false;
    this.#acknowledge();
  };

  #acknowledge(): void {
    const partition = this.#open?.partition;
    while (partition !== undefined) {
      const acks = this.#acks.next(partition.id);
      if (acks === undefined) break;
      if (!this.#call.send(acks)) this.#isSendFull = true;
    }
    if (this.#isFinishing && this.#acks.isEmpty) this.#call.end();
  }

  #checkToken(token: string): void {
    try {
      const identity = this.#service.access.identifyToken(token);
      const path = this.#open?.topic.path;
      if (path !== undefined && !this.#service.access.allows(identity, path, "write")) {
        throw new Refusal(StatusCode.UNAUTHORIZED, `${identity.user} may not write ${path}`);
      }
      this.#identity = identity;
      if (!this.#call.send(writeAnswer({ case: "updateTokenResponse", value: {} }))) this.#isSendFull = true;
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Waits while too much is on the way to the disk, or while the client does not read its acks. */
  #holdBack(): void | Promise<void> {
    if (this.#state === "closed") return undefined;
    if (this.#isSendFull) {
      this.#isSendFull = false;
      return this.#call.drained().catch(() => {});
    }
    if (this.#inFlightBytes > maxInFlightBytes) {
      this.#room ??= Promise.withResolvers<void>();
      return this.#room.promise;
    }
    return undefined;
  }

  #release(): void {
    this.#state = "closed";
    this.#alarm?.abort();
    this.#room?.resolve();
    this.#room = undefined;
    for (const release of this.#releases.splice(0)) release();
  }
}
