// The thread that compresses and decompresses batches of small payloads.

import { parentPort, workerData } from "node:worker_threads";
import { TopicError } from "../topic-error.ts";
import { type BuiltinSettings, runSync } from "./builtin.ts";
import type { BatchAnswer, BatchRequest } from "./codec-thread.ts";

const settings = workerData as BuiltinSettings;

parentPort?.on("message", ({ id, direction, codec, bytes, lengths }: BatchRequest) => {
  const outputs: Uint8Array[] = [];
  const answerLengths = new Int32Array(lengths.length);
  const errors: (readonly [index: number, code: string, message: string])[] = [];
  let at = 0;
  let total = 0;
  for (const [index, length] of lengths.entries()) {
    try {
      const output = runSync(direction, codec, bytes.subarray(at, at + length), settings);
      outputs.push(output);
      answerLengths[index] = output.length;
      total += output.length;
    } catch (error) {
      answerLengths[index] = -1;
      const message = error instanceof Error ? error.message : String(error);
      errors.push([index, TopicError.is(error) ? error.code : "DATA_CORRUPT", message]);
    }
    at += length;
  }
  const joined = new Uint8Array(total);
  at = 0;
  for (const output of outputs) {
    joined.set(output, at);
    at += output.length;
  }
  const answer: BatchAnswer = { id, bytes: joined, lengths: answerLengths, errors };
  parentPort?.postMessage(answer, [joined.buffer]);
});
