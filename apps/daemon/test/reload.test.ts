// What changes while a daemon runs, and what is refused: the real process.
import { copyFileSync, writeFileSync } from "node:fs";
import { connect } from "node:tls";
import { once } from "node:events";
import { join } from "node:path";
import { createStoreClient, openStore, serveWatch } from "@tidemark/watch-server";
import { Authority } from "@tidemark/tooling/certificates";
import { expect, onTestFinished, test } from "vitest";
import type { TidemarkConfig } from "../src/index.ts";
import { spawnCli, startDaemon, testFolder, until } from "./support.ts";

const secrets = { ops: "ops-5f4e3d2c1b0a9", reader: "reader-0a1b2c3d4e5f" } as const;
const ops = { name: "ops", token: secrets.ops, rights: "admin" } as const;
const reader = { name: "reader", token: secrets.reader, rights: "read" } as const;

function folderWith(config: TidemarkConfig) {
  const folder = testFolder();
  const file = join(folder, "tidemark.config.json");
  const write = (changed: object | string) =>
    writeFileSync(file, typeof changed === "string" ? changed : JSON.stringify(changed));
  write(config);
  return { folder, write, args: ["--data", join(folder, "data"), "--config", file] };
}

async function storeServer(): Promise<string> {
  const store = await openStore({ file: join(testFolder(), "store.db") });
  const server = await serveWatch({ store });
  const client = createStoreClient({ address: server.address });
  await client.put(Buffer.from("colour"), Buffer.from("blue"));
  onTestFinished(async () => {
    await client.close();
    await server.close();
    await store.close();
  });
  return server.address;
}

test("sources, tokens and the log level change live; a token that was taken away ends its streams", async () => {
  const base: TidemarkConfig = { topics: false, store: true };
  const { args, write } = folderWith({ ...base, tokens: [ops, reader] });
  const daemon = await startDaemon(args);
  const env = { TIDEMARK_TOKEN: secrets.ops };
  const watch = spawnCli(["watch", "--connect", daemon.http], { TIDEMARK_TOKEN: secrets.reader });
  let watched = "";
  watch.stdout.on("data", (chunk: Buffer) => (watched += chunk.toString()));
  let said = "";
  watch.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  for (let n = 0; watched === ""; n++) await daemon.cli(["put", "n", `${n}`], { env });
  const ended = once(watch, "close");

  write({
    ...base,
    tokens: [ops],
    logLevel: "debug",
    retention: { keepMs: 86_400_000 },
    sources: [{ kind: "watch", url: await storeServer() }],
  });
  const done = await daemon.cli(["reload"], { env });
  expect(done.stdout).toBe(
    "watch is followed.\nTokens and their rights changed.\nThe log level is debug.\nHistory is kept for another time.\n",
  );
  await ended;
  expect([watch.exitCode === 0, said]).toEqual([false, expect.stringContaining("withdrawn")]);
  expect((await daemon.cli(["status"], { env: { TIDEMARK_TOKEN: secrets.reader } })).stderr).toContain(
    "not known here",
  );
  expect((await daemon.cli(["get", "colour", "--stream", "watch", "--fresh"], { env })).stdout).toBe("blue\n");

  // The same again is nothing; without the source it is followed no more, and its history stays. SIGHUP does the same.
  expect((await daemon.cli(["reload"], { env })).stderr).toBe("Nothing changed.\n");
  write({ ...base, tokens: [ops], logLevel: "info", retention: { keepMs: 86_400_000 } });
  daemon.child.kill("SIGHUP");
  await until(() => daemon.output().stderr.includes("watch is not followed any more."));
  expect((await daemon.cli(["get", "colour", "--stream", "watch"], { env })).stdout).toBe("blue\n");
  expect(await daemon.stop("SIGTERM")).toBe(0);
  for (const secret of Object.values(secrets)) expect(JSON.stringify(daemon.output())).not.toContain(secret);
});

test("what cannot change is refused in a sentence, and then nothing has changed", async () => {
  const { args, write } = folderWith({ topics: false, tokens: [ops] });
  const daemon = await startDaemon(args);
  const env = { TIDEMARK_TOKEN: secrets.ops };
  write({
    topics: false,
    dataDir: "./elsewhere",
    history: { synchronous: "full" },
    store: false,
    sources: [{ kind: "watch", url: "http://127.0.0.1:1" }],
    tokens: [{ ...ops, rights: "read" }],
  });
  const refused = await daemon.cli(["reload"], { env });
  expect(refused.exitCode).not.toBe(0);
  expect(refused.stderr).toMatch(/`store`.*`history\.synchronous`|`history\.synchronous`.*`store`/);
  expect(refused.stderr).toContain("cannot change while the daemon runs. Nothing was changed.");
  write("{ broken");
  expect((await daemon.cli(["reload"], { env })).stderr).toContain("could not be read");
  daemon.child.kill("SIGHUP");
  await until(() => daemon.output().stderr.includes("everything is as it was"));
  // The token still has its rights.
  expect((await daemon.cli(["put", "a", "1"], { env })).exitCode).toBe(0);
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

test("new connections get a new certificate", async () => {
  const authority = await Authority.create();
  onTestFinished(() => authority.remove());
  const [first, second] = [
    await authority.issue("first", "IP:127.0.0.1"),
    await authority.issue("second", "IP:127.0.0.1"),
  ];
  const { folder, args } = folderWith({ tokens: [ops], tls: { certFile: "cert.pem", keyFile: "key.pem" } });
  const put = ({ certFile, keyFile }: typeof first) => {
    copyFileSync(certFile, join(folder, "cert.pem"));
    copyFileSync(keyFile, join(folder, "key.pem"));
  };
  put(first);
  const daemon = await startDaemon(args);
  const shown = async (url: string | null) => {
    const { hostname, port } = new URL((url ?? "").replace(/^grpcs/, "https"));
    const socket = connect({ host: hostname, port: Number(port), ca: authority.ca });
    await once(socket, "secureConnect");
    const name = socket.getPeerCertificate().subject.CN;
    socket.destroy();
    return name;
  };
  const all = () => Promise.all([daemon.http, daemon.watch, daemon.topics].map(shown));
  expect(await all()).toEqual(["first", "first", "first"]);
  put(second);
  const env = { TIDEMARK_TOKEN: secrets.ops, TIDEMARK_CA_FILE: authority.caFile };
  expect((await daemon.cli(["reload"], { env })).stdout).toMatch(/another certificate/);
  expect(await all()).toEqual(["second", "second", "second"]);
});
