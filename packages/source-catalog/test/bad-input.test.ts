import { type AddressInfo, createServer } from "node:net";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { catalogSource } from "@tidemark/source-catalog";
import { expect, onTestFinished, test } from "vitest";
import { body, CatalogServer, folder, follow, hang, status } from "./support.ts";

const secret = "Bearer s3cr3t-t0ken";

test("what is wrong with a list is named, and the other lists go on", async () => {
  const server = await new CatalogServer().listen();
  const elsewhere = await new CatalogServer().listen();
  elsewhere.put("evil", { id: "stolen" });
  const bad: Record<string, [Parameters<CatalogServer["faults"]["set"]>[1], RegExp]> = {
    truncated: [body('[{"id": 1}, {"id"'), /\/list\/truncated: expected JSON, got 17 characters that are not/],
    html: [body("<html>"), /\/list\/html: expected JSON/],
    shape: [body('{"nothing": 1}'), /\/list\/shape: expected an array, or an object with one in entries, items, data/],
    forbidden: [status(403), /\/list\/forbidden: expected status 200, got 403/],
    slow: [hang, /\/list\/slow: no answer within 1000 ms/],
    moved: [
      status(302, { location: `${elsewhere.url}/list/evil` }),
      /\/list\/moved: redirected to http:\/\/127.0.0.1:/,
    ],
    loop: [status(302, { location: "/list/loop" }), /\/list\/loop: more than 5 redirects/],
    cut: [(_, response) => void response.write("[", () => response.destroy()), /\/list\/cut: /],
    huge: [
      (_, response) => {
        const chunk = Buffer.alloc(1 << 16, " ");
        const more = () => {
          while (response.write(chunk));
        };
        response.on("drain", more);
        more();
      },
      /\/list\/huge: the answer is larger than maxBytes, 1000000 bytes/,
    ],
    garbage: [(request) => void request.socket.end("\0\xff garbage\r\n\r\n"), /\/list\/garbage: /],
  };
  server.put("good", { id: 1 });
  const catalogs = ["good", ...Object.keys(bad)].map((name) => ({
    name,
    url: `${server.url}/list/${name}?token=in-the-query`,
    headers: { authorization: secret },
  }));
  for (const [name, [fault]] of Object.entries(bad)) server.faults.set(`/list/${name}`, fault);
  const { now, cycle, source } = await follow(folder(), { catalogs, maxBytes: 1_000_000, fetchTimeoutMs: 1_000 });
  const failures = async () => Object.fromEntries((await source.failures()).map(({ key, error }) => [key, error]));
  const expected = Object.entries(bad).map(([name, [, error]]) => [name, expect.stringMatching(error) as string]);
  // Where the machine stands still for so long, others than the slow one are late for once, too.
  await expect.poll(() => cycle().then(failures)).toEqual(Object.fromEntries(expected));
  expect(Object.keys(await now())).toContain("/default/good/1");
  expect(elsewhere.requests).toEqual([]);
  const shown = JSON.stringify([await failures(), source.status(), source.description]);
  expect(shown).not.toContain("s3cr3t");
  expect(shown).not.toContain("in-the-query");
});

test("a catalogue of 1 GB is refused: by what it says of itself, while it comes, and while it is unpacked", async () => {
  const server = await new CatalogServer().listen();
  const gigabyte = 2 ** 30;
  const sent = { announced: 0, streamed: 0 };
  const stream =
    (name: keyof typeof sent, headers: Record<string, string>): Parameters<CatalogServer["faults"]["set"]>[1] =>
    (_, response) => {
      response.writeHead(200, headers);
      const chunk = Buffer.alloc(2 ** 16, " ");
      const more = () => {
        do sent[name] += chunk.length;
        while (sent[name] < gigabyte && response.write(chunk));
      };
      response.on("drain", more);
      more();
    };
  server.faults.set("/list/announced", stream("announced", { "content-length": String(gigabyte) }));
  server.faults.set("/list/streamed", stream("streamed", {}));
  // A kilobyte for each megabyte.
  const megabyte = gzipSync(Buffer.alloc(2 ** 20, " "));
  const packed = Buffer.concat(Array.from({ length: 1_024 }, () => megabyte));
  server.faults.set("/list/packed", (_, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end(packed);
  });
  server.put("good", { id: 1 });
  const names = ["announced", "streamed", "packed", "good"];
  const catalogs = names.map((name) => ({ name, url: `${server.url}/list/${name}` }));
  const { now, source } = await follow(folder(), { catalogs });
  expect(Object.keys(await now())).toContain("/default/good/1");
  const failures = new Map((await source.failures()).map(({ key, error }) => [key, error]));
  for (const name of names.slice(0, 3)) {
    expect(failures.get(name)).toMatch(new RegExp(`/list/${name}: the answer is larger than maxBytes, 67108864 bytes`));
  }
  // Besides what lies in the buffers on the way.
  expect(sent.announced).toBeLessThan(2 ** 24);
  expect(sent.streamed).toBeLessThan(gigabyte / 2);
});

test("entries of a list that cannot be used are named, and the others are used", async () => {
  const server = await new CatalogServer().listen();
  server.faults.set(
    "/list/apps",
    body('[{"id": "a"}, {"name": "nobody"}, null, 7, {"id": "a"}, {"id": 1.5}, {"id": "z"}]'),
  );
  const { now, source } = await follow(folder(), { catalogs: [{ name: "apps", url: `${server.url}/list/apps` }] });
  expect(Object.keys(await now()).toSorted()).toEqual(["/default/@digest", "/default/apps/a", "/default/apps/z"]);
  expect(source.status().problems.map(({ error }) => error.replace(/^.*entry/, "entry"))).toEqual([
    "entry 1: expected a text or an integer as id",
    "entry 2: expected a text or an integer as id",
    "entry 3: expected a text or an integer as id",
    "entry 4: id a was there before",
    "entry 5: expected a text or an integer as id",
  ]);
});

test("what is packed is unpacked, a byte order mark is none of the text, and other packing is refused", async () => {
  const server = await new CatalogServer().listen();
  const send =
    (encoding: string, bytes: Buffer): Parameters<CatalogServer["faults"]["set"]>[1] =>
    (_, response) => {
      response.writeHead(200, { "content-encoding": encoding }).end(bytes);
    };
  const list = Buffer.from('\ufeff[{"id": "here"}]');
  server.faults.set("/list/gzip", send("gzip", gzipSync(list)));
  server.faults.set("/list/br", send("BR", brotliCompressSync(list)));
  server.faults.set("/list/plain", send("identity", list));
  server.faults.set("/list/cut", send("gzip", gzipSync(list).subarray(0, 20)));
  server.faults.set("/list/other", send("constructor", list));
  const names = ["gzip", "br", "plain", "cut", "other"];
  const catalogs = names.map((name) => ({ name, url: `${server.url}/list/${name}` }));
  const { now, source } = await follow(folder(), { catalogs });
  const keys = Object.keys(await now()).filter((key) => key.endsWith("/here"));
  expect(keys.toSorted()).toEqual(["/default/br/here", "/default/gzip/here", "/default/plain/here"]);
  const failures = new Map((await source.failures()).map(({ key, error }) => [key, error]));
  expect(failures.get("cut")).toMatch(/list\/cut: Z_BUF_ERROR/);
  expect(failures.get("other")).toMatch(/list\/other: expected the content encoding gzip or br, got constructor/);
});

test("a connection that the server closes just when it is used again costs nothing", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    let requests = 0;
    socket.on("error", () => {});
    socket.on("data", () => {
      // As a server does whose patience with the idle connection has ended while the request was on its way.
      if (++requests > 1) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n[{"id": 1}]');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/list`;
  const { cycle, now, source } = await follow(folder(), { catalogs: [{ name: "a", url }], refetchMs: 1 });
  await cycle();
  await cycle();
  expect(await now()).toHaveProperty(["/default/a/1"]);
  expect(await source.failures()).toEqual([]);
  expect(connections).toBeGreaterThan(1);
});

test("a redirect within the host is followed", async () => {
  const server = await new CatalogServer().listen();
  server.put("new", { id: 1 });
  server.faults.set("/list/old", status(301, { location: "/list/new" }));
  const { now } = await follow(folder(), { catalogs: [{ name: "old", url: `${server.url}/list/old` }] });
  expect(await now()).toHaveProperty(["/default/old/1"]);
});

test("a list that stays away leaves what is known of it, and all that is said is that it waits", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: 1 });
  const { cycle, now, watcher } = await follow(folder(), {
    catalogs: [{ name: "apps", url: `${server.url}/list/apps` }],
  });
  server.faults.set("*", status(503));
  server.put("apps", { id: 2 });
  await cycle();
  expect(Object.keys(await now())).toContain("/default/apps/1");
  // It is said after everything else of a cycle.
  const events = watcher.events()[Symbol.asyncIterator]();
  while (watcher.status().problem === undefined) await events.next();
  expect(watcher.status().problem).toMatch(/\/list\/apps: expected status 200, got 503/);
  server.faults.clear();
  await cycle();
  expect(Object.keys(await now())).toContain("/default/apps/2");
});

test("options that cannot work are refused with what to do", () => {
  const refused = (more: object) =>
    expect(() => catalogSource({ stateFile: "state.db", catalogs: [{ name: "a", url: "http://h/a", ...more }] }));
  refused({ url: "ftp://h/a" }).toThrow(/expected a URL such as https:/);
  refused({ url: "http://user:hunter2@h/a" }).toThrow(/put it into headers.authorization instead/);
  refused({ url: "http://user:hunter2@h/a" }).not.toThrow(/hunter2/);
  refused({ detailUrl: "http://other/{id}" }).toThrow(/every URL must be on http:\/\/h, got one on http:\/\/other/);
  refused({ detailUrl: "http://h/x" }).toThrow(/detailUrl must contain \{id\}/);
  refused({ eventsUrl: "http://h/x" }).toThrow(/eventsUrl must contain \{after\}/);
  refused({ name: "a/b" }).toThrow(/needs a name without a slash, got "a\/b"/);
  refused({ tenants: ["x"] }).toThrow(/there is no tenant x, only default/);
});
