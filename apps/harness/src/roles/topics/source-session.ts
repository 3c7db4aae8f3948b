import type { ServerHttp2Stream } from "node:http2";
import { FrameSplitter } from "../../bench/topics/wire/frame-splitter.ts";
import { ProtoReader } from "../../bench/topics/wire/proto-reader.ts";
import { grpcFrame, message } from "../../bench/topics/wire/proto-writer.ts";
import { firstOffset, ReadTemplate } from "../../bench/topics/wire/read-template.ts";
import { success } from "../../bench/topics/wire/write-response.ts";

/** What a topic of the source is made of. */
export interface SourceShape {
  readonly path: string;
  readonly partitions: number;
  readonly payload: Uint8Array;
  /** Messages of one response. */
  readonly messages: number;
}

interface SourcePartition {
  readonly template: ReadTemplate;
  nextOffset: number;
}

/** One `StreamRead`: messages without end, as fast as the reader's credit allows. */
export class SourceSession {
  readonly #stream: ServerHttp2Stream;
  readonly #shape: (path: string) => SourceShape;
  readonly #started: SourcePartition[] = [];
  #templates: readonly ReadTemplate[] = [];
  #credit = 0;
  #turn = 0;
  #isBlocked = false;

  constructor(stream: ServerHttp2Stream, shape: (path: string) => SourceShape) {
    this.#stream = stream;
    this.#shape = shape;
    const splitter = new FrameSplitter((body) => this.#take(body));
    stream.on("data", (chunk: Buffer) => splitter.push(chunk));
    stream.on("drain", () => {
      this.#isBlocked = false;
      this.#pump();
    });
  }

  #take(body: Buffer): void {
    const reader = new ProtoReader(body);
    while (reader.hasMore) {
      const tag = reader.varint();
      if (tag === 0x0a) this.#init(reader.nested());
      else if (tag === 0x12) this.#grant(reader.nested());
      else if (tag === 0x1a) this.#commit(reader.nested());
      else if (tag === 0x2a) this.#tell([7, ""], reader, tag);
      else if (tag === 0x32) this.#start(reader.nested());
      else reader.skip(tag);
    }
  }

  #tell(answer: readonly [number, string], reader: ProtoReader, tag: number): void {
    reader.skip(tag);
    this.#stream.write(grpcFrame(message([1, success], answer)));
  }

  #init(request: ProtoReader): void {
    let path = "";
    while (request.hasMore) {
      const tag = request.varint();
      if (tag !== 0x0a) {
        request.skip(tag);
        continue;
      }
      const settings = request.nested();
      while (settings.hasMore) {
        const inner = settings.varint();
        if (inner === 0x0a) path = settings.text();
        else settings.skip(inner);
      }
    }
    const shape = this.#shape(path);
    this.#stream.write(grpcFrame(message([1, success], [3, message([1, "source-session"])])));
    this.#templates = Array.from(
      { length: shape.partitions },
      (_, id) => new ReadTemplate({ payload: shape.payload, messages: shape.messages, partitionSessionId: id + 1 }),
    );
    for (let id = 0; id < shape.partitions; id++) {
      const session = message([1, id + 1], [2, path], ...(id === 0 ? [] : [[3, id] as const]));
      const offsets = message([1, firstOffset], [2, 2 ** 28]);
      const start = message([1, session], [2, firstOffset], [3, offsets]);
      this.#stream.write(grpcFrame(message([1, success], [8, start])));
    }
  }

  #grant(request: ProtoReader): void {
    while (request.hasMore) {
      const tag = request.varint();
      if (tag === 0x08) this.#credit += request.varint();
      else request.skip(tag);
    }
    this.#pump();
  }

  #start(response: ProtoReader): void {
    while (response.hasMore) {
      const tag = response.varint();
      if (tag !== 0x08) {
        response.skip(tag);
        continue;
      }
      const template = this.#templates[response.varint() - 1];
      if (template !== undefined) this.#started.push({ template, nextOffset: firstOffset });
    }
    this.#pump();
  }

  /** Everything that is committed is committed at once. */
  #commit(request: ProtoReader): void {
    const committed: Buffer[] = [];
    while (request.hasMore) {
      const tag = request.varint();
      if (tag !== 0x0a) {
        request.skip(tag);
        continue;
      }
      const partition = request.nested();
      let id = 0;
      let end = 0;
      while (partition.hasMore) {
        const inner = partition.varint();
        if (inner === 0x08) id = partition.varint();
        else if (inner === 0x12) end = Math.max(end, rangeEnd(partition.nested()));
        else partition.skip(inner);
      }
      committed.push(message([1, message([1, id], [2, end])]));
    }
    this.#stream.write(grpcFrame(message([1, success], [5, Buffer.concat(committed)])));
  }

  #pump(): void {
    while (this.#credit > 0 && !this.#isBlocked && this.#started.length > 0 && !this.#stream.destroyed) {
      const partition = this.#started[this.#turn++ % this.#started.length] as SourcePartition;
      const { template } = partition;
      this.#credit -= template.bytesSize;
      const frame = template.at(partition.nextOffset);
      partition.nextOffset += template.messages;
      this.#isBlocked = !this.#stream.write(frame);
    }
  }
}

function rangeEnd(range: ProtoReader): number {
  let end = 0;
  while (range.hasMore) {
    const tag = range.varint();
    if (tag === 0x10) end = range.varint();
    else range.skip(tag);
  }
  return end;
}
