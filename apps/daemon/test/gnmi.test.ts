import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { GnmiDevice } from "@tidemark/source-gnmi/testing";
import { expect, onTestFinished, test } from "vitest";
import { resolveSettings } from "../src/config/settings.ts";
import { startDaemon, testFolder, tidemark, until } from "./support.ts";

async function testDevice(options = {}): Promise<GnmiDevice> {
  const device = await new GnmiDevice(options).listen();
  onTestFinished(() => device.close());
  device.apply({
    update: [
      { path: "/interfaces/interface[name=e1]/state/oper-status", value: "UP" },
      { path: "/system/state/hostname", value: "r1" },
    ],
  });
  return device;
}

const leaf = "/interfaces/interface[name=e1]/state/oper-status";

test("follows a device with two flags, keeps its history, and records what a restart hid", async () => {
  const device = await testDevice();
  const args = ["--data", testFolder(), "--gnmi", device.address, "--path", "/interfaces"];
  const daemon = await startDaemon(args);
  await until(async () => (await fetch(`${daemon.http}/readyz`)).status === 200);
  expect((await daemon.cli(["get", leaf])).stdout).toBe('"UP"\n');
  expect((await daemon.json(["ls"])).map((each) => each.key.text)).toEqual([leaf]);
  device.set(leaf, "DOWN");
  await until(async () => (await daemon.cli(["get", leaf])).stdout === '"DOWN"\n');
  await device.restart((tree) => tree.apply({ delete: ["/interfaces"] }, 1n));
  await until(async () => (await daemon.json(["ls"])).length === 0);
  expect((await daemon.json(["log", leaf])).map((each) => each.value?.text)).toEqual([undefined, '"DOWN"', '"UP"']);
  expect(await daemon.json(["gaps"])).toMatchObject([{ stream: "gnmi", reason: "disconnected" }]);
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

test("what a device skipped, sent out of order or refused is in its row", async () => {
  const device = await testDevice({});
  device.faults.refuseOnChange = true;
  const daemon = await startDaemon(["--data", testFolder(), "--gnmi", device.address, "--path", "/interfaces"]);
  await until(async () => (await fetch(`${daemon.http}/readyz`)).status === 200);
  const [status] = await daemon.json(["status"]);
  expect(status).toMatchObject({
    streams: [
      {
        source: {
          leaves: "1",
          duplicates: "0",
          "out of order": "0",
          unreadable: "0",
          encoding: "proto",
          "instead of on_change": expect.stringMatching(/target_defined|sample/),
        },
      },
    ],
  });
  const { stdout } = await daemon.cli(["status"]);
  expect(stdout).toMatch(
    /source +1 leaves, .*0 duplicates, 0 out of order, 0 unreadable, encoding proto, instead of on_/,
  );
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

test("a configured device with a user is followed, and its password is nowhere", async () => {
  const password = "tr0ub4dor-and-4";
  const device = await testDevice({ credentials: { user: "u", password } });
  const folder = testFolder();
  const sources = [
    {
      kind: "gnmi",
      name: "r1",
      address: device.address,
      paths: ["/"],
      username: "u",
      password,
      allowPlaintextSecrets: true,
    },
    {
      kind: "gnmi",
      name: "r2",
      address: device.address,
      paths: ["/"],
      username: "u",
      password: "wrong-password",
      allowPlaintextSecrets: true,
    },
  ];
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify({ dataDir: folder, sources }));
  const daemon = await startDaemon(["--log-level", "trace"], { cwd: folder });
  await until(async () => (await daemon.cli(["get", leaf, "--stream", "r1"])).stdout === '"UP"\n');
  await until(() => daemon.output().stderr.includes("does not accept who we are"));
  const [status] = await daemon.json(["status"]);
  await daemon.stop("SIGTERM");
  const everything = JSON.stringify([status, daemon.output()]);
  expect(everything).not.toContain(password);
  expect(everything).not.toContain("wrong-password");
});

test.for([
  [["--gnmi", "127.0.0.1:1"], /there is no --path/],
  [["--path", "/a"], /there is no --gnmi/],
  [["--gnmi", "127.0.0.1:1", "--path", "/a["], /The source "gnmi": expected \[key=value\]/],
  [["--gnmi", "http://u:hunter22@h", "--path", "/a"], /has a user or password in it/],
] as const)("refuses up %j", async ([args, message]) => {
  const { stderr, exitCode } = await tidemark(["up", "--data", testFolder(), "--listen", "127.0.0.1:0", ...args]);
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain("hunter22");
  expect(exitCode).toBe(2);
});

test("credentials come from the environment, and go nowhere in plain text unless --insecure says so", async () => {
  const env = { TIDEMARK_GNMI_USERNAME: "u", TIDEMARK_GNMI_PASSWORD: "s3cret-env" };
  const flags = { gnmi: "127.0.0.1:1", path: ["/a"] };
  const [plain] = resolveSettings({}, flags, env).sources;
  expect(plain).toMatchObject({ username: "u", password: "s3cret-env", allowPlaintextSecrets: false });
  const args = ["up", "--data", testFolder(), "--listen", "127.0.0.1:0", "--gnmi", "127.0.0.1:1", "--path", "/a"];
  expect((await tidemark(args, { env })).stderr).toMatch(/credentials and tokens go over TLS only/);
});
