import { endFile, onFileFinished } from "@tidemark/tooling/file-scope";
import { expect, test } from "vitest";

test("what a file opened is ended once, the last first", async () => {
  const ended: string[] = [];
  onFileFinished(async () => void ended.push("server"));
  onFileFinished(async () => void ended.push("client"));
  await endFile();
  await endFile();
  expect(ended).toEqual(["client", "server"]);
});
