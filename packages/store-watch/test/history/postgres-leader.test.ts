import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, begin, commit, end, openedHistory, put, state, streamOptions } from "./helpers.ts";
import { letRunOut, openSleeper } from "./sleeping-writer.ts";

// Two histories of one process that go over to another process together.

const test = serviceTest("postgres");

async function opened(options: Parameters<typeof openPostgresHistory>[0]) {
  const history = await openPostgresHistory(options);
  onTestFinished(() => history.close());
  return history;
}

test("who has the leader takes over what it leads, from whoever has that; who lost the leader does not", async () => {
  const [main, led] = [await temporarySchema(), await temporarySchema()];
  const first = await openSleeper(main.options);
  const firstLed = await opened({ ...led.options, leader: first });
  const stream = await firstLed.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);

  // The first one was away for as long as its lease of the leader lasts, and has the other one still.
  await letRunOut(main);
  const second = await openPostgresHistory(main.options);
  const secondLed = await openPostgresHistory({ ...led.options, leader: second });
  const theirs = await secondLed.openStream(streamOptions());
  await append(theirs, [put("a", "2", 2), commit(2)]);
  await expect(append(stream, [put("a", "late", 2), commit(2)])).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  await expect(firstLed.openStream(streamOptions())).rejects.toMatchObject({
    code: "DATABASE_LOCKED",
    retryable: true,
  });
  await expect(openPostgresHistory({ ...led.options, leader: first })).rejects.toMatchObject({
    code: "DATABASE_LOCKED",
    message: expect.stringContaining("the history that leads it"),
  });
  expect(await state(secondLed)).toEqual({ a: "2" });

  // It gives the leader back alone: the first one takes the other one from it.
  await second.close();
  await first.openStream(streamOptions());
  const again = await firstLed.openStream(streamOptions());
  await append(again, [put("a", "3", 3), commit(3)]);
  await expect(append(theirs, [put("a", "late", 3), commit(3)])).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  await secondLed.close();
  expect(await state(firstLed)).toEqual({ a: "3" });
  expect((await firstLed.fsck()).findings).toEqual([]);
});

test("without a leader nothing is taken from anybody, and a file leads nothing", async () => {
  const schema = await temporarySchema();
  await opened(schema.options);
  await expect(openPostgresHistory(schema.options)).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  const { history } = await openedHistory();
  const other = await temporarySchema();
  await expect(openPostgresHistory({ ...other.options, leader: history })).rejects.toMatchObject({
    code: "OPTIONS_INVALID",
  });
});

test("a lease that ends never, or was released just when it was looked at, is one like others", async () => {
  const schema = await temporarySchema();
  await (await openPostgresHistory(schema.options)).close();
  await schema.client.query("UPDATE writer SET owner = 'somebody', expires_at = 'infinity'");
  await expect(openPostgresHistory(schema.options)).rejects.toThrow(/DATABASE_LOCKED.*somebody.*ends in \d+ ms/);
  // It is released between the attempt to take it, which fails, and the look at who has it.
  await schema.client.query("UPDATE writer SET expires_at = '-infinity'");
  const { client } = schema;
  await client.query("BEGIN");
  await client.query("SELECT * FROM writer FOR UPDATE");
  await expect(openPostgresHistory(schema.options)).rejects.toMatchObject({ code: "DATABASE_LOCKED", retryable: true });
  await client.query("COMMIT");
});

test("with synchronous full a commit waits for the disk, whatever the server's own setting is", async () => {
  const said = async (synchronous: "normal" | "full") => {
    const { options, client, database } = await temporarySchema();
    const history = await opened({ ...options, synchronous });
    await client.query("CREATE TABLE said (text text)");
    await client.query(
      `CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO said VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$`,
    );
    await client.query("CREATE TRIGGER say AFTER INSERT ON versions EXECUTE FUNCTION say()");
    await append(await history.openStream(streamOptions()), [begin("e"), put("a", "1", 1), end(1)]);
    return (await database.rows("SELECT text FROM said")).flat();
  };
  // The test's own server has it off.
  expect([await said("normal"), await said("full")]).toEqual([["off"], ["on"]]);
});
