import { expect, test } from "vitest";
import { body, CatalogServer, folder, follow } from "./support.ts";

const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

test("numbers keep every digit, and a version that differs in the last one is another", async () => {
  const server = await new CatalogServer().listen();
  const list = (version: string) =>
    body(`[{"id": 9007199254740993, "v": ${version}, "price": 0.12345678901234567890}]`);
  server.faults.set("/list/apps", list("1732745432123456789"));
  server.faults.set("/detail/apps/9007199254740993", body('{"serial": 18446744073709551615}'));
  const { cycle, history } = await follow(folder(), {
    refetchMs: 1,
    catalogs: [
      {
        name: "apps",
        url: `${server.url}/list/apps`,
        detailUrl: `${server.url}/detail/apps/{id}`,
        versionField: "v",
      },
    ],
  });
  const key = Buffer.from("/default/apps/9007199254740993");
  const shown = async () => text((await history.log("catalogs", key)).items[0]?.value);
  expect(await shown()).toBe(
    '{"entry":{"id":9007199254740993,"v":1732745432123456789,"price":0.12345678901234567890},' +
      '"detail":{"serial":18446744073709551615}}',
  );
  server.faults.set("/list/apps", list("1732745432123456790"));
  server.faults.set("/detail/apps/9007199254740993", body('{"serial": 18446744073709551614}'));
  await cycle();
  expect(await shown()).toContain('"serial":18446744073709551614');
});

test("events with ids beyond 2^53 are followed", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" });
  const asked: string[] = [];
  server.faults.set("/events", (request, response) => {
    const after = new URL(request.url ?? "", server.url).searchParams.get("after") ?? "";
    asked.push(after);
    response.end(after === "0" ? '[{"id": 9007199254740993, "entry": "a"}]' : "[]");
  });
  const { cycle } = await follow(folder(), {
    catalogs: [{ name: "apps", url: `${server.url}/list/apps`, eventsUrl: `${server.url}/events?after={after}` }],
  });
  await cycle();
  expect(asked.at(-1)).toBe("9007199254740993");
});
