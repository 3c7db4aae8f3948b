// What an error of each database asks for. A class that is wrong either gives up too early or tries for ever.

import { type LookupFunction, Socket } from "node:net";
import { openMigrationReader } from "@tidemark/migrate";
import { classifyMysqlError, classifyPostgresError, classifySqliteError } from "@tidemark/migrate/internal";
import { freePorts } from "@tidemark/tooling/ports";
import pg from "pg";
import { expect, test } from "vitest";

const withCode = (code: string, more: object = {}) => Object.assign(new Error("told"), { code, ...more });

test.each([
  ["40001", "retry", "serialisation"],
  ["40P01", "retry", "deadlock"],
  ["55P03", "retry", "lock timeout"],
  ["53300", "retry", "too many connections"],
  ["57P01", "retry", "the server shuts down"],
  ["57P03", "retry", "the server starts"],
  ["08006", "retry", "connection failure"],
  ["25P03", "retry", "idle in a transaction for too long"],
  ["57P05", "retry", "idle in a session for too long"],
  ["57014", "split", "statement timeout"],
  ["25P04", "split", "in a transaction for too long"],
  ["22P02", "poison", "not a number"],
  ["22003", "poison", "out of range"],
  ["23505", "poison", "unique"],
  ["23514", "poison", "check"],
  ["21000", "poison", "a subquery with two rows"],
  ["P0001", "poison", "raised by a trigger"],
  ["44000", "poison", "a view with a check"],
  ["54000", "poison", "a row too large"],
  ["42703", "fatal", "no such column"],
  ["42P01", "fatal", "no such table"],
  ["42501", "fatal", "no permission"],
  ["53100", "fatal", "disk full"],
  ["25006", "fatal", "read-only transaction"],
  ["XX000", "fatal", "internal"],
])("PostgreSQL %s is %s: %s", (code, kind) => {
  expect(classifyPostgresError(withCode(code))).toBe(kind);
});

test.each([
  [1205, "HY000", "retry", "lock timeout"],
  [1213, "40001", "retry", "deadlock"],
  [1040, "08004", "retry", "too many connections"],
  [1226, "42000", "retry", "too many connections of this user"],
  [1047, "08S01", "retry", "a node that is not in its cluster"],
  [1053, "08S01", "retry", "the server shuts down"],
  [1927, "70100", "retry", "connection killed"],
  [2006, "HY000", "retry", "gone away"],
  [2013, "HY000", "retry", "lost in a query"],
  [4031, "HY000", "retry", "disconnected for idling"],
  [1969, "70100", "split", "max_statement_time"],
  [3024, "HY000", "split", "max_execution_time"],
  [1317, "70100", "split", "interrupted"],
  [1062, "23000", "poison", "unique"],
  [1264, "22003", "poison", "out of range"],
  [1292, "22007", "poison", "not a date"],
  [1366, "22007", "poison", "not a number"],
  [1406, "22001", "poison", "too long"],
  [4025, "23000", "poison", "check of MariaDB"],
  [3819, "HY000", "poison", "check of MySQL"],
  [1644, "45000", "poison", "raised by a trigger"],
  [1054, "42S22", "fatal", "no such column"],
  [1146, "42S02", "fatal", "no such table"],
  [1142, "42000", "fatal", "no permission"],
  [1114, "HY000", "fatal", "table full"],
  [1290, "HY000", "fatal", "read-only"],
])("MySQL %s is %s %s: %s", (errno, sqlState, kind) => {
  expect(classifyMysqlError(Object.assign(new Error("told"), { errno, sqlState }))).toBe(kind);
});

test.each([
  ["SQLITE_BUSY", 5, "retry"],
  ["SQLITE_BUSY_SNAPSHOT", 517, "retry"],
  ["SQLITE_LOCKED", 6, "retry"],
  ["SQLITE_INTERRUPT", 9, "split"],
  ["SQLITE_CONSTRAINT_CHECK", 275, "poison"],
  ["SQLITE_CONSTRAINT_UNIQUE", 2067, "poison"],
  ["SQLITE_MISMATCH", 20, "poison"],
  ["SQLITE_TOOBIG", 18, "poison"],
  ["SQLITE_FULL", 13, "fatal"],
  ["SQLITE_CORRUPT", 11, "fatal"],
  ["SQLITE_READONLY", 8, "fatal"],
  ["SQLITE_IOERR_WRITE", 778, "fatal"],
  ["SQLITE_NOTADB", 26, "fatal"],
])("SQLite %s is %s: both drivers", (code, errcode, kind) => {
  expect(classifySqliteError(withCode(code))).toBe(kind);
  expect(classifySqliteError(withCode("ERR_SQLITE_ERROR", { errcode }))).toBe(kind);
});

test.each(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "DATABASE_AWAY"])("%s is tried again", (code) => {
  expect(classifyPostgresError(withCode(code))).toBe("retry");
  expect(classifyMysqlError(withCode(code))).toBe("retry");
});

test("what no database said is nobody's to classify", () => {
  for (const error of [new Error("a slip"), withCode("ERR_ASSERTION"), {}, "text", { code: 5 }]) {
    expect(classifyPostgresError(error)).toBe("fatal");
    expect(classifyMysqlError(error)).toBe("fatal");
    expect(classifySqliteError(error)).toBe("fatal");
  }
});

test("a server that is at none of its addresses is told with what one of them said", async () => {
  const [port] = (await freePorts(1)) as [number];
  const addresses = ["127.0.0.1", "127.0.0.2"].map((address) => ({ address, family: 4 }));
  // As `localhost` is on most machines, with an address of each kind.
  class Twice extends Socket {
    override connect(...[at, host]: unknown[]): this {
      const lookup: LookupFunction = (_name, _options, found) => found(null, addresses);
      return super.connect({ port: Number(at), host: String(host), autoSelectFamily: true, lookup });
    }
  }
  const client = new pg.Pool({ host: "both.test", port, user: "u", stream: () => new Twice() });
  const reader = await openMigrationReader({ database: { dialect: "postgresql", client } });
  await expect(reader.list()).rejects.toMatchObject({
    code: "SQL_FAILED",
    retryable: true,
    message: expect.stringMatching(/cannot be read: connect ECONNREFUSED 127\.0\.0\.1/),
  });
  await reader.close();
  await client.end();
});
