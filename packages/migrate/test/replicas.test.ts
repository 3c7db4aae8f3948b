// Servers with a real replica, which is made to fall behind.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import type { SignalOption } from "@tidemark/migrate";
import { openMysql, openPostgres, openSignals, resolveSignals } from "@tidemark/migrate/internal";
import { freePorts } from "@tidemark/tooling/ports";
import { serviceTest } from "@tidemark/tooling/services";
import { createPool } from "mysql2/promise";
import pg from "pg";
import { expect, inject, onTestFinished } from "vitest";
import { asUser, pathOf, run, scratchFolder, serve, split, startMariaDb, stop } from "./support/servers.ts";
import { counters } from "./support/schema.ts";

type Reading = { readonly utilisation: number; readonly reason: string };

async function until(read: () => Promise<Reading>, isRight: (reading: Reading) => boolean): Promise<Reading> {
  for (;;) {
    const reading = await read();
    if (isRight(reading)) return reading;
    await systemClock.sleep(20);
  }
}

function readerOf(
  dialect: "postgresql" | "mysql",
  database: ReturnType<typeof openMysql>,
  option: SignalOption,
): () => Promise<Reading> {
  const own = openSignals(resolveSignals(dialect, [option], { maxWalBytes: 1 }), database, systemClock);
  onTestFinished(async () => {
    await own.close();
    await database.connection.close();
  });
  const [signal] = own.signals;
  if (signal === undefined) throw new Error("no signal");
  return () => signal.read({ table: counters, rowsChanged: () => 0 });
}

serviceTest("postgres")("pg: a replica that stands still is behind, and one that is gone is missed", async () => {
  const primary = inject("postgresFolder");
  const folder = scratchFolder("replica");
  const data = join(folder, "data");
  const backup = [
    pathOf("pg_basebackup"),
    "-h",
    primary,
    "-U",
    "postgres",
    "-D",
    data,
    "-R",
    "-c",
    "fast",
    "--no-sync",
  ];
  await run(...split([...(await asUser("postgres", folder, false)), ...backup]));
  const options = ["-c", "listen_addresses=", "-k", folder, "-c", "fsync=off"];
  const command = [...(await asUser("postgres", folder, true)), pathOf("postgres"), "-D", data, ...options];
  const server = await serve(command, join(folder, ".s.PGSQL.5432"));
  onTestFinished(async () => {
    await stop(server, "SIGINT");
    rmSync(folder, { recursive: true, force: true });
  });
  const client = new pg.Pool({ host: primary, user: "postgres", database: "postgres", max: 4 });
  const standby = new pg.Pool({ host: folder, user: "postgres", database: "postgres", max: 1 });
  for (const pool of [client, standby]) {
    pool.on("error", () => {});
    onTestFinished(() => pool.end());
  }
  const database = openPostgres({ dialect: "postgresql", client });
  const read = readerOf("postgresql", database, { name: "replica-lag", limit: 200, minReplicas: 1 });
  await until(read, ({ utilisation }) => utilisation <= 1);
  await until(
    async () => ({ utilisation: (await standby.query("select 1")).rows.length, reason: "" }),
    ({ utilisation }) => utilisation === 1,
  );
  await standby.query("select pg_wal_replay_pause()");
  // It may pause behind the record it is at.
  const write = () => client.query("select pg_logical_emit_message(true, 'test', repeat('x', 100000))");
  const behind = await until(
    async () => {
      await write();
      return read();
    },
    ({ utilisation }) => utilisation > 0.01,
  );
  expect(behind.reason).toMatch(/^replica \S+ is \d+ ms and \d+\.\d MB behind, limit 200 ms and 256\.0 MB$/);
  await standby.query("select pg_wal_replay_resume()");
  await until(read, ({ utilisation }) => utilisation < 0.01);
  await stop(server, "SIGINT");
  const gone = await until(read, ({ utilisation }) => utilisation > 1);
  expect(gone.reason).toBe("0 of 1 replicas are connected");
});

async function mariaDb(id: number, port: number) {
  const folder = scratchFolder(`mariadb-${id}`);
  const network = ["--bind-address=127.0.0.1", `--port=${port}`, "--log-bin=binlog", "--skip-name-resolve"];
  const server = await startMariaDb(folder, [`--server-id=${id}`, ...network, "--innodb-buffer-pool-size=16M"]);
  const socket = join(folder, "socket");
  onTestFinished(async () => {
    await stop(server, "SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  });
  const pool = createPool({ socketPath: socket, user: "root", connectionLimit: 4 });
  onTestFinished(() => pool.end());
  return pool;
}

serviceTest("mariadb")(
  "mariadb: a replica that waits for a lock is behind, and one that is stopped too",
  async () => {
    const [port = 0, replicaPort = 0] = await freePorts(2);
    const [client, replica] = await Promise.all([mariaDb(1, port), mariaDb(2, replicaPort)]);
    await client.query("create user 'copy'@'127.0.0.1' identified by 'copy'");
    await client.query("grant replication slave on *.* to 'copy'@'127.0.0.1'");
    await replica.query(
      `change master to master_host='127.0.0.1', master_port=${port}, master_user='copy', master_password='copy',
        master_use_gtid=slave_pos`,
    );
    await replica.query("start slave");
    await client.query("create database app");
    await client.query("create table app.rows_of (id int primary key, n int)");
    await client.query("insert into app.rows_of values (1, 0)");
    const database = openMysql({ dialect: "mysql", client });
    const read = readerOf("mysql", database, { name: "replica-lag", limit: 500, replicas: [replica] });
    await until(read, ({ utilisation }) => utilisation === 0);
    await until(
      async () => ({
        utilisation: await replica.query("select * from app.rows_of").then(
          () => 1,
          () => 0,
        ),
        reason: "",
      }),
      ({ utilisation }) => utilisation === 1,
    );
    const holder = await replica.getConnection();
    await holder.query("lock tables app.rows_of read");
    await client.query("update app.rows_of set n = n + 1");
    const behind = await until(read, ({ utilisation }) => utilisation > 1);
    expect(behind.reason).toMatch(/^replica 1 of 1 is \d+ ms behind, limit 500 ms$/);
    await holder.query("unlock tables");
    holder.release();
    await until(read, ({ utilisation }) => utilisation <= 1);
    await replica.query("stop slave");
    const stopped = await read();
    expect(stopped).toEqual({ utilisation: Number.POSITIVE_INFINITY, reason: "replica 1 of 1 is stopped" });
  },
  120_000,
);
