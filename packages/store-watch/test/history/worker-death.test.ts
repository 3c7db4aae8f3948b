import { systemClock } from "@tidemark/clock";
import { expect, test } from "vitest";
import { SqliteStream } from "../../src/history/history-stream.ts";
import type { WriterMethods } from "../../src/history/methods.ts";
import { workerErrors } from "../../src/history-workers.ts";
import { WorkerClient } from "../../src/worker/worker-client.ts";
import { bufferOf, commit, put } from "./helpers.ts";

test("when the writer's thread dies, an append fails by name and its buffer can be used again, empty", async () => {
  const writer = new WorkerClient<WriterMethods>(new URL("./fixtures/dying-writer.ts", import.meta.url), {
    name: "dying",
    ...workerErrors,
  });
  const stream = new SqliteStream(
    "s",
    { id: 1, token: 1, resume: undefined },
    {
      writer,
      clock: systemClock,
      onCommit: () => {
        throw new Error("nothing was committed");
      },
    },
  );
  const buffer = bufferOf([put("a", "1", 1), commit(1)]);
  await expect(stream.append(buffer)).rejects.toMatchObject({ code: "WORKER_DIED", retryable: false });
  expect(buffer.frames).toBe(0);
  // The thread is known to be gone: the next one is not lost.
  buffer.write(put("a", "1", 1));
  await expect(stream.append(buffer)).rejects.toMatchObject({ code: "WORKER_DIED" });
  expect(buffer.decode()).toEqual([put("a", "1", 1)]);
  await writer.close();
});
