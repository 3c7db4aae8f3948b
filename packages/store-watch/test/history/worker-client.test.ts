import { expect, test } from "vitest";
import { type ErrorRecord, fromErrorRecord } from "../../src/worker/error-record.ts";
import { WorkerClient } from "../../src/worker/worker-client.ts";
import type { EchoMethods } from "./fixtures/echo-worker.ts";

const file = new URL("./fixtures/echo-worker.ts", import.meta.url);
const start = (options: Partial<ConstructorParameters<typeof WorkerClient>[1]> = {}) =>
  new WorkerClient<EchoMethods>(file, { name: "echo", ...options });

test("answers typed calls, synchronous and asynchronous ones", async () => {
  const client = start();
  const echoed = client.call("echo", { text: "ä" });
  const later = client.call("later", 4);
  expect(client.pending).toBe(2);
  expect(await echoed).toEqual({ text: "ä" });
  expect(await later).toBe(4);
  expect(client.pending).toBe(0);
  await client.close();
});

test("carries name, code, retryable and cause of an error over", async () => {
  const records: ErrorRecord[] = [];
  const client = start({
    reviveError(record) {
      records.push(record);
      return fromErrorRecord(record);
    },
  });
  const error: unknown = await client.call("fail", { code: "E_TOLD" }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: "EchoError", code: "E_TOLD", message: "told to fail" });
  expect((error as Error).cause).toMatchObject({ name: "RangeError", message: "because" });
  expect(records).toMatchObject([{ code: "E_TOLD", retryable: true }]);
  await client.close();
});

test("moves memory there and back", async () => {
  const client = start();
  const memory = new ArrayBuffer(1024);
  const moved = client.call("move", memory, { transfer: [memory] });
  expect(memory.byteLength).toBe(0);
  expect(new Uint8Array(await moved)[0]).toBe(7);
  await client.close();
});

test("settles every call when the thread ends by itself, and says so to later ones", async () => {
  const client = start({ diedError: (message, cause) => new Error(`DIED: ${message}`, { cause }) });
  const calls = await Promise.allSettled([client.call("crash", undefined), client.call("later", 1)]);
  expect(calls.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await expect(client.call("later", 2)).rejects.toThrow("DIED: the thread echo ended");
  await client.close();
});

test("an aborted call rejects with the signal's reason and leaves no listener", async () => {
  const client = start();
  const controller = new AbortController();
  const reason = new Error("changed my mind");
  const call = client.call("later", 1, { signal: controller.signal });
  controller.abort(reason);
  await expect(call).rejects.toBe(reason);
  await expect(client.call("later", 1, { signal: controller.signal })).rejects.toBe(reason);
  expect(await client.call("later", 5)).toBe(5);
  await client.close();
});

test("close is idempotent, finishes what is pending and refuses what comes after", async () => {
  const client = start({ closedError: () => new Error("closed by us") });
  const pending = client.call("later", 9);
  const closing = Promise.all([client.close(), client.close()]);
  await expect(client.call("later", 1)).rejects.toThrow("closed by us");
  expect(await pending).toBe(9);
  await closing;
  await client.destroy();
});

test("an argument that cannot be cloned rejects that call only", async () => {
  const client = start();
  await expect(client.call("echo", { text: (() => 1) as unknown as string })).rejects.toMatchObject({
    name: "DataCloneError",
  });
  expect(client.pending).toBe(0);
  await client.close();
});
