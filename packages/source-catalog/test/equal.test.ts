import { seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { CatalogServer, folder, follow } from "./support.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const perCatalog = isLong ? 5_000 : 60;
const seed = Number(process.env["TIDEMARK_SEED"] ?? 20_261);

// Lists and details fail in every way that a server has, entries come, change and go meanwhile.
test(`20 catalogues of ${perCatalog} entries end equal to their server, whatever failed on the way`, async () => {
  const rng = seededRng(seed);
  const server = await new CatalogServer().listen();
  const names = Array.from({ length: 20 }, (_, n) => `c${n}`);
  let revision = 0;
  const put = (name: string, id: number) => {
    server.put(name, { id: `${name}-${id}`, revision: ++revision });
    server.details.set(`${name}-${id}`, { text: `details ${revision}` });
  };
  for (const name of names) for (let id = 0; id < perCatalog; id++) put(name, id);
  const catalogs = names.map((name, n) => ({
    name,
    url: `${server.url}/list/${name}`,
    ...(n % 2 === 0 ? { hashUrl: `${server.url}/hash/${name}` } : {}),
    detailUrl: `${server.url}/detail/${name}/{id}`,
    ...(n % 3 === 0 ? { statusUrl: `${server.url}/status` } : {}),
  }));
  let isBad = true;
  server.faults.set("*", (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", server.url);
    const draw = isBad ? rng.float() : 1;
    if (draw < 0.03) response.writeHead(503).end();
    else if (draw < 0.06) request.socket.destroy();
    else if (draw < 0.09) response.end('{"cut": "in the mid');
    else if (draw < 0.1) response.writeHead(302, { location: "http://192.0.2.1/" }).end();
    else server.answer(request, response, pathname, searchParams);
  });
  const { now, cycle, source } = await follow(folder(), {
    catalogs,
    detailConcurrency: 32,
    quarantineAfter: 100,
    refetchMs: 1,
  });
  for (let round = 0; round < 5; round++) {
    for (const name of names) {
      for (let count = 0; count < 5; count++) put(name, rng.int(0, perCatalog + 10));
      server.entries.get(name)?.delete(`${name}-${rng.int(0, perCatalog)}`);
    }
    server.statuses.set(`c0-${round}`, round);
    await cycle();
  }
  isBad = false;
  // What failed waits for at most a millisecond, so that each cycle tries all of it.
  for (let cycles = 0; (await source.failures()).length > 0 || cycles < 2; cycles++) {
    expect(cycles).toBeLessThan(20);
    await cycle();
  }
  const expected = new Map<string, unknown>();
  for (const [n, name] of names.entries()) {
    for (const [id, entry] of server.entries.get(name) ?? []) {
      const status = n % 3 === 0 ? server.statuses.get(id) : undefined;
      const value = { entry, detail: server.details.get(id), ...(status === undefined ? {} : { status }) };
      expected.set(`/default/${name}/${id}`, value);
    }
  }
  const { "/default/@digest": digest, ...entries } = await now();
  expect(digest).toMatchObject({ entries: expected.size });
  expect(new Map(Object.entries(entries))).toEqual(expected);
}, 600_000);
