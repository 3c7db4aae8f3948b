import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { decode, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, of, Test, text, textOf } from "./support/service.ts";

const run = promisify(execFile);
let folder = "";
const pem: Record<string, string> = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidemark-tls-"));
  const file = (name: string) => join(folder, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  await run("openssl", [
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.pem"),
    "-subj",
    "/CN=ca",
  ]);
  await writeFile(file("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  for (const name of ["server", "client"]) {
    const request = ["req", ...newKey.slice(0, -2), "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`)];
    await run("openssl", [...request, "-subj", `/CN=${name}`]);
    const ca = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial", "-days", "2"];
    const sign = ["x509", "-req", "-in", file(`${name}.csr`), ...ca, "-extfile", file("ext")];
    await run("openssl", [...sign, "-out", file(`${name}.pem`)]);
  }
  for (const name of ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"]) {
    pem[name] = await readFile(file(name), "utf8");
  }
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const ca = () => pem["ca.pem"] as string;
const own = (name: string) => ({ cert: pem[`${name}.pem`] as string, key: pem[`${name}.key`] as string });

test("frames, routes and connect's own client work over TLS", async () => {
  const { url } = await startFrameServer({ tls: own("server") });
  expect(url).toMatch(/^https:/);
  const channel = openChannel({ baseUrl: url, tls: { ca: ca() } });
  const large = encode("x".repeat(300_000));
  expect((await collect(channel.stream(both).start(of(encode("a"), large)))).map((frame) => frame.length)).toEqual([
    3,
    large.length,
  ]);
  expect(textOf(await createClient(Test, channel.transport).once(text("a")))).toBe("a");
  const sessionManager = new Http2SessionManager(url, {}, { ca: ca() });
  onTestFinished(() => sessionManager.abort());
  const stock = createClient(Test, createGrpcTransport({ baseUrl: url, sessionManager }));
  expect((await collect(stock.both(of(text("a"))))).map(textOf)).toEqual(["a"]);
});

test("a server that nobody vouches for is refused", async () => {
  const { url, server } = await startFrameServer({ tls: own("server") });
  const channel = openChannel({ baseUrl: url });
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
  expect(server.openCalls).toBe(0);
});

test("mutual TLS lets in who has a certificate, and nobody else", async () => {
  const { url } = await startFrameServer({ tls: { ...own("server"), ca: ca(), requestCert: true } });
  const known = openChannel({ baseUrl: url, tls: { ca: ca(), ...own("client") } });
  expect((await collect(known.stream(both).start(of(encode("a"))))).map(decode)).toEqual(["a"]);
  const stranger = openChannel({ baseUrl: url, tls: { ca: ca() } });
  await expect(collect(stranger.stream(both).start(of(encode("a"))))).rejects.toMatchObject({ code: Code.Unavailable });
});

test("plain text on a port with TLS is refused", async () => {
  const { port, url } = await startFrameServer({ tls: own("server") });
  const plain = openChannel({ baseUrl: `http://127.0.0.1:${port}` });
  await expect(collect(plain.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
  const channel = openChannel({ baseUrl: url, tls: { ca: ca() } });
  expect(await collect(channel.stream(both).start(of(encode("a"))))).toHaveLength(1);
});
