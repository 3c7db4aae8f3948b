import { Worker } from "node:worker_threads";
import { TopicError, type TopicErrorCode } from "../topic-error.ts";
import type { BuiltinSettings, Direction } from "./builtin.ts";

export interface BatchRequest {
  readonly id: number;
  readonly direction: Direction;
  readonly codec: number;
  /** All payloads, one behind the other. */
  readonly bytes: Uint8Array;
  readonly lengths: Uint32Array;
}

export interface BatchAnswer {
  readonly id: number;
  readonly bytes: Uint8Array;
  /** -1: one that failed. */
  readonly lengths: Int32Array;
  readonly errors: readonly (readonly [index: number, code: string, message: string])[];
}

interface Pending {
  resolve(results: (Uint8Array | TopicError)[]): void;
  reject(error: unknown): void;
}

// In dist/ this file is part of a bundle one level up.
const isSource = import.meta.url.endsWith(".ts");
const file = new URL(isSource ? "./codec-worker.ts" : "./compression/codec-worker.js", import.meta.url);

/** One thread, started with the first batch. It does not keep the process alive while nothing is asked of it. */
export class CodecThread {
  readonly #settings: BuiltinSettings;
  #worker: Worker | undefined;
  #ended: TopicError | undefined;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  constructor(settings: BuiltinSettings) {
    this.#settings = settings;
  }

  /** Whether a thread could be had. After it died it cannot, and work goes elsewhere. */
  get isUsable(): boolean {
    return this.#ended === undefined;
  }

  run(direction: Direction, codec: number, payloads: readonly Uint8Array[]): Promise<(Uint8Array | TopicError)[]> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const lengths = Uint32Array.from(payloads, ({ length }) => length);
    const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
    let at = 0;
    for (const payload of payloads) {
      bytes.set(payload, at);
      at += payload.length;
    }
    return new Promise((resolve, reject) => {
      const worker = (this.#worker ??= this.#start());
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      const request: BatchRequest = { id, direction, codec, bytes, lengths };
      worker.postMessage(request, [bytes.buffer]);
    });
  }

  /** Rejects what is under way. */
  async close(): Promise<void> {
    this.#end(new TopicError("CLOSED", "The client was closed while messages were compressed or decompressed"));
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(file, {
      name: "tidemark codecs",
      workerData: this.#settings,
      ...(isSource && { execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"] }),
    });
    worker.on("message", (answer: BatchAnswer) => this.#receive(answer));
    worker.on("error", (cause) => this.#end(new TopicError("CLOSED", "The codecs' thread died", { cause })));
    worker.on("exit", () => this.#end(new TopicError("CLOSED", "The codecs' thread ended")));
    return worker;
  }

  #receive({ id, bytes, lengths, errors }: BatchAnswer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker?.unref();
    const failed = new Map(errors.map(([index, code, message]) => [index, asError(code, message)]));
    let at = 0;
    const results = Array.from(lengths, (length, index) => {
      const error = failed.get(index);
      if (error !== undefined) return error;
      at += length;
      return bytes.subarray(at - length, at);
    });
    pending?.resolve(results);
  }

  #end(error: TopicError): void {
    this.#ended ??= error;
    for (const pending of this.#pending.values()) pending.reject(this.#ended);
    this.#pending.clear();
  }
}

function asError(code: string, message: string): TopicError {
  return new TopicError(code as TopicErrorCode, message.replace(/^\[[A-Z_]+\] /, ""));
}
