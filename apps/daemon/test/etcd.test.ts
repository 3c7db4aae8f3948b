import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, test } from "vitest";
import { startDaemon, testFolder, tidemark, until } from "./support.ts";

test("an etcd that cannot be reached does not keep the daemon down", async () => {
  const daemon = await startDaemon(["--data", testFolder(), "--etcd", "http://127.0.0.1:1"]);
  expect(daemon.watch).toBeNull();
  await until(() => daemon.output().stderr.includes("it is tried again until it works"));
  const ready = await fetch(`${daemon.http}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.json()).toMatchObject({ ready: false, reason: expect.stringMatching(/etcd.*127\.0\.0\.1:1/) });
  expect((await fetch(`${daemon.http}/healthz`)).status).toBe(200);
  const [status] = await daemon.json(["status"]);
  expect(status.streams).toMatchObject([
    { name: "etcd", state: "reconnecting", problem: expect.stringMatching(/127\.0\.0\.1:1/) },
  ]);
  const human = await daemon.cli(["status"]);
  expect(human.stdout).toMatch(/problem +.*127\.0\.0\.1:1/);
  const fresh = await daemon.cli(["ls", "--fresh"]);
  expect(fresh.stderr).toMatch(
    /^error: The replica did not catch up with its source within 10 s\.\n {2}`tidemark status`/,
  );
  expect(fresh.exitCode).toBe(5);
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

serviceTest("etcd")("follows a real etcd, its past included, and its keys only", async () => {
  await using etcd = await startEtcd();
  await etcd.client.put("/config/a", "1");
  await etcd.client.put("/other", "x");
  const daemon = await startDaemon(["--data", testFolder(), "--etcd", etcd.endpoint, "--prefix", "/config/"]);
  expect((await daemon.cli(["get", "/config/a", "--fresh"])).stdout).toBe("1\n");
  await etcd.client.put("/config/a", "2");
  expect((await daemon.cli(["get", "/config/a", "--fresh"])).stdout).toBe("2\n");
  expect((await daemon.json(["log", "/config/a"])).map((each) => each.value.text)).toEqual(["2", "1"]);
  expect((await daemon.json(["ls"])).map((each) => each.key.text)).toEqual(["/config/a"]);
  expect((await fetch(`${daemon.http}/readyz`)).status).toBe(200);
});

serviceTest("etcd")("an etcd that comes up later is followed then", async () => {
  await using etcd = await startEtcd();
  await etcd.client.put("/a", "1");
  await etcd.stop();
  const daemon = await startDaemon(["--data", testFolder(), "--etcd", etcd.endpoint]);
  expect((await fetch(`${daemon.http}/readyz`)).status).toBe(503);
  await etcd.start();
  await until(async () => (await fetch(`${daemon.http}/readyz`)).status === 200);
  expect((await daemon.cli(["get", "/a", "--fresh"])).stdout).toBe("1\n");
});

serviceTest("etcd")("a refused user is a problem that tells, and no password is anywhere", async () => {
  const password = "tr0ub4dor-and-3";
  await using etcd = await startEtcd();
  await etcd.enableAuth("root-password-1");
  const folder = testFolder();
  const url = etcd.endpoint.replace("://", `://root:${password}@`);
  const daemon = await startDaemon(["--data", folder, "--etcd", url, "--log-level", "trace"]);
  await until(() => daemon.output().stderr.includes("it is tried again"));
  const [status] = await daemon.json(["status"]);
  expect(status.streams[0].problem).toMatch(/user|password|auth/i);
  const responses = await Promise.all(
    ["/", "/healthz", "/readyz", "/metrics", "/tidemark.admin.v1.AdminService/Status"].map(async (path) => {
      const isCall = path.includes("Service");
      const response = await fetch(
        daemon.http + path,
        isCall ? { method: "POST", headers: { "content-type": "application/json" }, body: "{}" } : {},
      );
      return await response.text();
    }),
  );
  const commands = await Promise.all(["status", "gaps", "quarantine", "ls"].map((command) => daemon.cli([command])));
  await daemon.stop("SIGTERM");
  const everything = [
    ...responses,
    ...commands.flatMap(({ stdout, stderr }) => [stdout, stderr]),
    daemon.output().stdout,
    daemon.output().stderr,
  ].join("\n");
  expect(everything).toContain(etcd.endpoint.replace("http://", ""));
  for (const form of [password, encodeURIComponent(password), Buffer.from(password).toString("base64")])
    expect(everything).not.toContain(form);
});

serviceTest("etcd")("user and password from the configuration or the environment let us in", async () => {
  await using etcd = await startEtcd();
  await etcd.client.put("/a", "1");
  await etcd.enableAuth("root-password-1");
  const folder = testFolder();
  const config = {
    dataDir: "data",
    sources: [{ kind: "etcd", endpoints: [etcd.endpoint], username: "root", password: "root-password-1" }],
  };
  writeFileSync(join(folder, "tidemark.config.json"), JSON.stringify(config));
  const configured = await startDaemon([], { cwd: folder });
  expect((await configured.cli(["get", "/a", "--fresh"])).stdout).toBe("1\n");
  const env = { TIDEMARK_ETCD_USERNAME: "root", TIDEMARK_ETCD_PASSWORD: "root-password-1" };
  const environment = await startDaemon(["--data", testFolder(), "--etcd", etcd.endpoint], { env });
  expect((await environment.cli(["get", "/a", "--fresh"])).stdout).toBe("1\n");
});

serviceTest("etcd")("TLS files of the configuration, relative to it, are what etcd is asked with", async () => {
  const folder = testFolder();
  const file = (name: string) => join(folder, name);
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" ");
  await promisify(execFile)("openssl", [
    ...certificate,
    "-keyout",
    file("etcd.key"),
    "-out",
    file("etcd.pem"),
    ...names,
  ]);
  const tls = { ca: readFileSync(file("etcd.pem"), "utf8") };
  await using etcd = await startEtcd({ tlsFiles: { cert: file("etcd.pem"), key: file("etcd.key") }, tls });
  await etcd.client.put("/a", "1");
  const source = { kind: "etcd", endpoints: [etcd.endpoint], tls: { caFile: "etcd.pem" } };
  writeFileSync(file("tidemark.config.json"), JSON.stringify({ dataDir: "data", sources: [source] }));
  const daemon = await startDaemon([], { cwd: folder });
  expect((await daemon.cli(["get", "/a", "--fresh"])).stdout).toBe("1\n");
});

test("TLS files that are not there, or not enough, are a wrong configuration", async () => {
  const folder = testFolder();
  const results = await Promise.all(
    [{ caFile: "nowhere.pem" }, { certFile: "cert.pem" }].map(async (tls, index) => {
      const config = {
        dataDir: `data${index}`,
        listen: "127.0.0.1:0",
        sources: [{ kind: "etcd", endpoints: ["https://127.0.0.1:1"], tls }],
      };
      writeFileSync(join(folder, `${index}.json`), JSON.stringify(config));
      return tidemark(["up", "--config", `${index}.json`], { cwd: folder });
    }),
  );
  expect(results[0]?.stderr).toMatch(/^error: A file of the source "etcd" cannot be read: .*nowhere\.pem/m);
  expect(results[1]?.stderr).toMatch(
    /^error: The source "etcd" has only one of `tls\.certFile` and `tls\.keyFile`\.$/m,
  );
  expect(results.map(({ exitCode }) => exitCode)).toEqual([2, 2]);
});

test("a mistyped etcd URL does not show its password", async () => {
  const folder = testFolder();
  const wrong = [
    "http//root:hunter22@a:1",
    "ftp://root:hunter22@a",
    "http://root:hunter22@a/x",
    "http://root:hun%ter22@a",
  ];
  const results = await Promise.all([
    ...wrong.map((url) => tidemark(["up", "--data", folder, "--etcd", url])),
    tidemark(["up", "--etcd=http://root:hunter22@a", "--nonsense=http://root:hunter22@b"]),
    tidemark(["up", "--etdc=http://root:hunter22@b"]),
  ]);
  for (const { stdout, stderr, exitCode } of results) {
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^error: /);
    expect(stdout + stderr).not.toMatch(/hunter22|hun%ter/);
  }
});
