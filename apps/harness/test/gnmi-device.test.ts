import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { GnmiClient } from "@tidemark/source-gnmi";
import { expect, onTestFinished, test } from "vitest";
import { runCli } from "../src/cli.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const flags = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];

test("the command serves a device that counts as fast as it was told to, and stops", async () => {
  const args = ["gnmi-device", "--port", "0", "--interfaces", "4", "--rate", "2000"];
  const child = spawn(process.execPath, [...flags, main, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const [, address = ""] = /^gNMI device at (\S+) with 49 leaves/.exec(line) ?? [];
  await using client = new GnmiClient({ address });
  expect((await client.capabilities()).models).toMatchObject([{ name: "tidemark-device" }]);
  let updates = 0;
  for await (const event of client.subscribe({ subscriptions: [{ path: "/interfaces" }], encoding: "proto" })) {
    if (event.type === "notification") updates += event.notification.updates.length;
    if (updates > 2000) break;
  }
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
});

test("arguments that make no sense are refused", async () => {
  expect(await runCli(["gnmi-device", "--fault", "nonsense"])).toBe(2);
  expect(await runCli(["gnmi-device", "--cert", "a.pem"])).toBe(2);
  expect(await runCli(["gnmi-device", "--port", "x"])).toBe(2);
});
