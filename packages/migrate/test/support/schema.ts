import type { Database } from "better-sqlite3";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

// Without vitest: processes of their own load it too.
const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);

/** The seed's shape: parents, and children whose latest time belongs to the parent. */
export const parents = sqliteTable("parents", {
  id: integer("id").primaryKey(),
  lastSeen: integer("last_seen").notNull().default(0),
});
export function createParents(db: Database, count: number, childrenOf: (parent: number) => readonly number[]): void {
  db.exec(`create table parents (id integer primary key, last_seen integer not null default 0);
    create table children (id integer primary key, parent_id integer not null, at integer not null);
    create index children_parent on children (parent_id)`);
  const parent = db.prepare("insert into parents (id) values (?)");
  const child = db.prepare("insert into children (parent_id, at) values (?, ?)");
  db.transaction(() => {
    for (const id of upTo(count)) {
      parent.run(id);
      for (const at of childrenOf(id)) child.run(id, at);
    }
  })();
}

/** Counters that show every single effect: a row that is visited twice has 2. */
export const counters = sqliteTable("counters", {
  id: integer("id").primaryKey(),
  n: integer("n").notNull().default(0),
});

export function createCounters(db: Database, count: number): void {
  db.exec("create table counters (id integer primary key, n integer not null default 0)");
  const insert = db.prepare("insert into counters (id) values (?)");
  db.transaction(() => upTo(count).forEach((id) => insert.run(id)))();
}

/** Rows, and others that belong to them. */
export const totals = sqliteTable("totals", { id: integer("id").primaryKey(), total: integer("total") });
export const parts = sqliteTable("parts", {
  id: integer("id").primaryKey(),
  totalId: integer("total_id"),
  amount: integer("amount"),
  largest: integer("largest"),
});

/** Text that a mapper makes something of. */
export const notes = sqliteTable("notes", {
  id: integer("id").primaryKey(),
  body: text("body").notNull(),
  length: integer("length"),
});

export function createNotes(db: Database, bodies: readonly string[]): void {
  db.exec("create table notes (id integer primary key, body text not null, length integer)");
  const insert = db.prepare("insert into notes (body) values (?)");
  db.transaction(() => bodies.forEach((body) => insert.run(body)))();
}
