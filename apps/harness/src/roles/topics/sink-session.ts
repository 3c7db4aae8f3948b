import type { ServerHttp2Stream } from "node:http2";
import { FrameSplitter } from "../../bench/topics/wire/frame-splitter.ts";
import { ProtoReader } from "../../bench/topics/wire/proto-reader.ts";
import { grpcFrame, message } from "../../bench/topics/wire/proto-writer.ts";
import { encodeAckFrame, success } from "../../bench/topics/wire/write-response.ts";

/** What a sink has taken in. */
export interface SinkCounts {
  messages: number;
  payloadBytes: number;
  requests: number;
  /** Messages whose number was not above the one before: lost order, or sent twice. */
  outOfOrder: number;
}

/** A partition of a topic that only counts. */
export interface SinkPartition {
  readonly id: number;
  nextOffset: number;
}

/** One `StreamWrite`: parses and counts every message, acknowledges each with its offset, and forgets it. */
export class SinkSession {
  readonly #stream: ServerHttp2Stream;
  readonly #partition: SinkPartition;
  readonly #counts: SinkCounts;
  #seqNos = new Float64Array(1024);
  #lastSeqNo = 0;
  /** Answers to what came in one chunk go out in one write. */
  #answers: Buffer[] = [];

  constructor(stream: ServerHttp2Stream, partition: SinkPartition, counts: SinkCounts) {
    this.#stream = stream;
    this.#partition = partition;
    this.#counts = counts;
    const splitter = new FrameSplitter((body) => this.#take(body));
    stream.on("data", (chunk: Buffer) => {
      splitter.push(chunk);
      this.#answer();
    });
  }

  #answer(): void {
    const answers = this.#answers;
    if (answers.length === 0) return;
    this.#answers = [];
    this.#stream.write(answers.length === 1 ? answers[0] : Buffer.concat(answers));
  }

  #take(body: Buffer): void {
    const reader = new ProtoReader(body);
    while (reader.hasMore) {
      const tag = reader.varint();
      if (tag === 0x12) this.#write(reader.nested());
      else if (tag === 0x0a) {
        reader.skip(tag);
        const codecs = message([1, Uint8Array.of(1, 2, 4)]);
        const init = message([2, "sink-session"], [3, this.#partition.id], [4, codecs]);
        this.#answers.push(grpcFrame(message([1, success], [3, init])));
      } else if (tag === 0x1a) {
        reader.skip(tag);
        this.#answers.push(grpcFrame(message([1, success], [5, ""])));
      } else reader.skip(tag);
    }
  }

  #write(request: ProtoReader): void {
    let count = 0;
    while (request.hasMore) {
      const tag = request.varint();
      if (tag !== 0x0a) {
        request.skip(tag);
        continue;
      }
      if (count === this.#seqNos.length) this.#seqNos = grown(this.#seqNos);
      this.#seqNos[count++] = this.#message(request);
    }
    const { nextOffset, id } = this.#partition;
    this.#answers.push(encodeAckFrame(this.#seqNos, count, nextOffset, id));
    this.#partition.nextOffset += count;
    this.#counts.messages += count;
    this.#counts.requests++;
  }

  /** Reads one message in place, without an object of its own, and returns its number. */
  #message(reader: ProtoReader): number {
    const end = reader.varint() + reader.at;
    let seqNo = 0;
    while (reader.at < end) {
      const tag = reader.varint();
      if (tag === 0x08) seqNo = reader.varint();
      else if (tag === 0x1a) {
        const length = reader.varint();
        this.#counts.payloadBytes += length;
        reader.at += length;
      } else reader.skip(tag);
    }
    if (seqNo <= this.#lastSeqNo) this.#counts.outOfOrder++;
    this.#lastSeqNo = seqNo;
    return seqNo;
  }
}

function grown(values: Float64Array): Float64Array<ArrayBuffer> {
  const more = new Float64Array(values.length * 2);
  more.set(values);
  return more;
}
