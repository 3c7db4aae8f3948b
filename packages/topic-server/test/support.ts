import { create, type DescMethodBiDiStreaming, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  DiscoveryService,
  type Operation,
  QueryService,
  StatusCode,
  topicAdminWire,
  TopicService,
} from "@tidemark/topic/internal";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import type { Message } from "@bufbuild/protobuf";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { TopicServer, TopicServerOptions } from "../src/index.ts";
import { openServer } from "../src/open-topic-server.ts";
import type { StoreOptions } from "../src/storage/store-options.ts";

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "topic-server-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * A server that is closed after the test. In memory unless it is given a folder. Clients that leave without a word are not
 * waited for: here that is most of them.
 */
export async function openTestServer(options: TopicServerOptions & StoreOptions = {}): Promise<TopicServer> {
  const server = await openServer({ closeTimeoutMs: 100, ...options });
  onTestFinished(() => server.close());
  return server;
}

type Answer<D extends DescMethodBiDiStreaming> = MessageShape<D["output"]>;

/** One bidirectional call, from the outside, message by message. */
class Stream<D extends DescMethodBiDiStreaming> {
  readonly #abort = new AbortController();
  #waiting: MessageInitShape<D["input"]>[] = [];
  #wake: (() => void) | undefined;
  #isEnded = false;
  readonly #answers: AsyncIterator<Answer<D>>;

  constructor(
    call: (input: AsyncIterable<MessageInitShape<D["input"]>>, signal: AbortSignal) => AsyncIterable<Answer<D>>,
  ) {
    this.#answers = call(this.#input(), this.#abort.signal)[Symbol.asyncIterator]();
    onTestFinished(() => this.#abort.abort());
  }

  send(message: MessageInitShape<D["input"]>): this {
    this.#waiting.push(message);
    this.#wake?.();
    return this;
  }

  /** Half-closes. */
  end(): this {
    this.#isEnded = true;
    this.#wake?.();
    return this;
  }

  abort(): void {
    this.#abort.abort();
  }

  /** The next answer. Throws at the end of the stream. */
  async next(): Promise<Answer<D>> {
    const step = await this.#answers.next();
    if (step.done === true) throw new Error("the stream has ended");
    return step.value;
  }

  /** Whether the server ended the stream with gRPC's OK. */
  async isOver(): Promise<boolean> {
    return (await this.#answers.next()).done === true;
  }

  async *#input(): AsyncIterable<MessageInitShape<D["input"]>> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) yield message;
      else if (this.#isEnded) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

export type WriteStream = Stream<typeof TopicService.method.streamWrite>;
export type ReadStream = Stream<typeof TopicService.method.streamRead>;
type ReadMessage = Answer<typeof TopicService.method.streamRead>["serverMessage"];

/** What a stock client of the generated services sees. */
export function rawClient(server: TopicServer, headers: Record<string, string> = {}) {
  const transport = createGrpcTransport({ baseUrl: `http://${server.host}:${server.port}` });
  const topics = createClient(TopicService, transport);
  const options = { headers };
  return {
    transport,
    topics,
    discovery: createClient(DiscoveryService, transport),
    query: createClient(QueryService, transport),
    write: (): WriteStream => new Stream((input, signal) => topics.streamWrite(input, { ...options, signal })),
    read: (): ReadStream => new Stream((input, signal) => topics.streamRead(input, { ...options, signal })),
    async createTopic(path: string, settings: MessageInitShape<typeof topicAdminWire.CreateTopicRequestSchema> = {}) {
      const request = create(topicAdminWire.CreateTopicRequestSchema, {
        consumers: [{ name: "c" }],
        ...settings,
        path,
      } as never);
      return statusOf((await topics.createTopic(request, options)).operation);
    },
    async describe(path: string) {
      const { operation } = await topics.describeTopic({ path, includeStats: true, includeLocation: true }, options);
      return unpack(topicAdminWire.DescribeTopicResultSchema, operation);
    },
  };
}

export type RawClient = ReturnType<typeof rawClient>;

function statusOf(operation: Operation | undefined): string {
  const status = operation?.status ?? 0;
  return Object.entries(StatusCode).find(([, value]) => value === status)?.[0] ?? String(status);
}

export function unpack<T extends Message>(schema: GenMessage<T>, operation: Operation | undefined): T {
  const result = operation?.result === undefined ? undefined : anyUnpack(operation.result, schema);
  if (result === undefined) throw new Error(`no result, but ${statusOf(operation)}: ${operation?.issues[0]?.message}`);
  return result;
}

/** A message of a number of bytes, or of a text. */
export const message = (seqNo: number | bigint, data: string | Uint8Array = `m${seqNo}`) => ({
  seqNo: BigInt(seqNo),
  data: typeof data === "string" ? new TextEncoder().encode(data) : data,
  uncompressedSize: BigInt(data.length),
});

export async function openWrite(client: RawClient, path: string, producerId = "p", partitionId?: number) {
  const stream = client.write();
  const partitioning =
    partitionId === undefined
      ? ({ case: "messageGroupId", value: producerId } as const)
      : ({ case: "partitionId", value: BigInt(partitionId) } as const);
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId, partitioning } } });
  const { serverMessage, issues } = await stream.next();
  if (serverMessage.case !== "initResponse") throw new Error(`expected initResponse: ${issues[0]?.message}`);
  return { stream, init: serverMessage.value };
}

/** Writes and waits for the acks: `12` for an offset, `skipped`, `tx`. */
export async function write(
  stream: WriteStream,
  messages: ReturnType<typeof message>[],
  tx?: { id: string; session: string },
) {
  const value = { messages, codec: 1, ...(tx === undefined ? {} : { tx }) };
  stream.send({ clientMessage: { case: "writeRequest", value } });
  const { serverMessage, status, issues } = await stream.next();
  if (serverMessage.case !== "writeResponse") throw new Error(`expected acks, got ${status}: ${issues[0]?.message}`);
  return serverMessage.value.acks.map(({ messageWriteStatus: it }) =>
    it.case === "written" ? Number(it.value.offset) : it.case === "skipped" ? "skipped" : "tx",
  );
}

export interface ReadOptions {
  readonly consumer?: string;
  readonly partitionIds?: readonly number[];
  readonly credit?: number;
  readonly supportsSplits?: boolean;
}

export async function openRead(client: RawClient, path: string, options: ReadOptions = {}) {
  const { consumer = "c", partitionIds = [], credit = 1_000_000, supportsSplits = false } = options;
  const stream = client.read();
  const topicsReadSettings = [{ path, partitionIds: partitionIds.map(BigInt) }];
  const value = { topicsReadSettings, consumer, autoPartitioningSupport: supportsSplits };
  stream.send({ clientMessage: { case: "initRequest", value } });
  const init = await expectRead(stream, "initResponse");
  if (credit > 0) stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: BigInt(credit) } } });
  return { stream, sessionId: init.sessionId };
}

type ReadCase = Exclude<ReadMessage["case"], undefined>;

export async function expectRead<C extends ReadCase>(
  stream: ReadStream,
  kind: C,
): Promise<Extract<ReadMessage, { case: C }>["value"]> {
  const { serverMessage, status, issues } = await stream.next();
  if (serverMessage.case !== kind) {
    throw new Error(`expected ${kind}, got ${serverMessage.case ?? `${status}: ${issues[0]?.message}`}`);
  }
  return serverMessage.value as never;
}

/** Takes the next partition and starts it. */
export async function acceptPartition(
  stream: ReadStream,
  response: { readOffset?: bigint; commitOffset?: bigint } = {},
) {
  const start = await expectRead(stream, "startPartitionSessionRequest");
  const partitionSessionId = start.partitionSession?.partitionSessionId ?? 0n;
  const value = { partitionSessionId, ...response };
  stream.send({ clientMessage: { case: "startPartitionSessionResponse", value } });
  return { ...start, id: partitionSessionId, partition: Number(start.partitionSession?.partitionId) };
}

export interface Received {
  readonly offset: number;
  readonly seqNo: number;
  readonly text: string;
}

/** Reads so many messages. */
export async function readMessages(stream: ReadStream, count: number): Promise<Received[]> {
  const received: Received[] = [];
  while (received.length < count) {
    const { partitionData } = await expectRead(stream, "readResponse");
    for (const { batches } of partitionData) {
      for (const { messageData } of batches) {
        for (const { offset, seqNo, data } of messageData) {
          received.push({ offset: Number(offset), seqNo: Number(seqNo), text: new TextDecoder().decode(data) });
        }
      }
    }
  }
  return received;
}

export async function commit(stream: ReadStream, partitionSessionId: bigint, start: number, end: number) {
  const offsets = [{ start: BigInt(start), end: BigInt(end) }];
  const value = { commitOffsets: [{ partitionSessionId, offsets }] };
  stream.send({ clientMessage: { case: "commitOffsetRequest", value } });
}

/** The status that ended a stream. */
export async function expectFailure(stream: WriteStream | ReadStream): Promise<string> {
  for (;;) {
    const answer = await stream.next();
    if (answer.status === StatusCode.SUCCESS) continue;
    if (!(await stream.isOver())) throw new Error("something follows the failure");
    return Object.entries(StatusCode).find(([, value]) => value === answer.status)?.[0] ?? "";
  }
}
