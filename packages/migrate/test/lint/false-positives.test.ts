// What teams write every day and what harms nobody: how much of it the gate objects to.

import { defineMigration, type Migration } from "@tidemark/migrate";
import { and, eq, gt, isNull, sql } from "drizzle-orm";
import { integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { lintDefinition } from "../../src/lint/lint-definition.ts";
import { lintSql } from "../../src/lint/lint-sql.ts";
import { sqlitePlanner } from "../../src/lint/planner.ts";

/** Of a hundred. */
const bearable = 2;

const schema = [
  `create table users (id integer primary key autoincrement, email text not null, name text, born integer, age_group text,
    plan text not null default 'free', last_order_at integer, orders_count integer, spent real, deleted_at integer)`,
  "create unique index users_email on users (email)",
  `create table orders (id text primary key not null, user_id integer not null references users (id), state text not null,
    total_cents integer not null, total real, placed_at integer not null, note text, lines_count integer)`,
  "create index orders_user on orders (user_id, placed_at)",
  `create table order_lines (order_id text not null, line integer not null, sku text not null, quantity integer not null,
    cents integer not null, product_name text, primary key (order_id, line)) without rowid`,
  "create table products (sku text primary key not null, name text not null, slug text, tags text)",
  "create index lines_sku on order_lines (sku)",
];

const sqliteStatements = `
CREATE TABLE \`sessions\` (\`id\` text PRIMARY KEY NOT NULL, \`user_id\` integer NOT NULL, \`expires_at\` integer NOT NULL)
CREATE TABLE IF NOT EXISTS tags (id integer primary key, name text not null unique)
CREATE TABLE coupons (code text primary key, percent integer check (percent between 1 and 100), made_at integer default (unixepoch()))
CREATE VIRTUAL TABLE products_search USING fts5 (name, content='')
CREATE VIEW open_orders AS SELECT * FROM orders WHERE state = 'open'
CREATE TEMP TABLE scratch (id integer)
ALTER TABLE users ADD COLUMN phone text
ALTER TABLE \`users\` ADD \`locale\` text DEFAULT 'en' NOT NULL
ALTER TABLE users ADD COLUMN invited_by integer REFERENCES users (id)
ALTER TABLE users RENAME COLUMN name TO full_name
ALTER TABLE users RENAME TO people
DROP VIEW IF EXISTS old_view
DROP INDEX users_email
DROP TABLE IF EXISTS products
DROP TRIGGER IF EXISTS keep
PRAGMA foreign_keys = ON
PRAGMA user_version = 7
INSERT INTO users (email) VALUES ('a@example.org')
INSERT INTO users (email, plan) VALUES ('a@example.org', 'pro'), ('b@example.org', 'free')
INSERT OR IGNORE INTO products (sku, name) VALUES ('x', 'X')
INSERT INTO products (sku, name) VALUES ('x', 'X') ON CONFLICT (sku) DO UPDATE SET name = excluded.name
REPLACE INTO products (sku, name) VALUES ('x', 'UPDATE products SET name')
INSERT INTO order_lines SELECT order_id, line + 1000, sku, quantity, cents, NULL FROM order_lines WHERE order_id = 'a'
UPDATE users SET plan = 'pro' WHERE id = 7
UPDATE users SET plan = 'pro' WHERE id IN (1, 2, 3)
UPDATE users SET plan = 'pro' WHERE email = 'a@example.org'
UPDATE users SET last_order_at = (SELECT max(placed_at) FROM orders WHERE user_id = users.id) WHERE id = 7
UPDATE users SET orders_count = (SELECT count(*) FROM orders WHERE user_id = users.id) WHERE id > 100 AND id <= 200
UPDATE orders SET state = 'paid' WHERE id = 'o-1' AND state = 'open'
UPDATE order_lines SET quantity = quantity + 1 WHERE order_id = 'a' AND line = 1
DELETE FROM users WHERE id = 7
DELETE FROM orders WHERE user_id = 7 AND placed_at < 1700000000
DELETE FROM order_lines WHERE order_id IN (SELECT id FROM orders WHERE user_id = 7)
WITH one AS (SELECT id FROM users WHERE email = 'a@example.org') UPDATE users SET plan = 'pro' WHERE id IN (SELECT id FROM one)
SELECT count(*) FROM users WHERE plan = 'delete from users'
CREATE TRIGGER t AFTER UPDATE ON orders BEGIN UPDATE users SET last_order_at = new.placed_at WHERE id = new.user_id; END
CREATE TRIGGER u AFTER DELETE ON users BEGIN DELETE FROM orders WHERE user_id = old.id; END
-- DELETE FROM users
SELECT 1 /* ; UPDATE users SET plan = 'x' */
BEGIN; UPDATE users SET plan = 'pro' WHERE id = 7; COMMIT
ANALYZE
`;

const postgresStatements = `
CREATE TABLE "sessions" ("id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL, "user_id" bigint NOT NULL)
CREATE TABLE IF NOT EXISTS "tags" ("id" serial PRIMARY KEY, "name" varchar(40) NOT NULL UNIQUE)
CREATE TABLE events (at timestamptz not null) PARTITION BY RANGE (at)
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
CREATE SCHEMA "billing"
CREATE SEQUENCE invoice_number START 1000
CREATE EXTENSION IF NOT EXISTS pg_trgm
CREATE TYPE "public"."plan" AS ENUM ('free', 'pro')
ALTER TYPE "public"."plan" ADD VALUE 'team' BEFORE 'pro'
CREATE VIEW open_orders AS SELECT * FROM orders WHERE state = 'open'
CREATE OR REPLACE FUNCTION touch() RETURNS trigger AS $$ BEGIN NEW.at = now(); UPDATE a SET b = 1; RETURN NEW; END $$ LANGUAGE plpgsql
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch()
CREATE INDEX CONCURRENTLY IF NOT EXISTS "orders_state" ON "orders" ("state")
CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (lower(email))
DROP INDEX CONCURRENTLY IF EXISTS orders_state
ALTER TABLE "users" ADD COLUMN "phone" text
ALTER TABLE "users" ADD COLUMN "locale" text DEFAULT 'en' NOT NULL
ALTER TABLE users ADD COLUMN IF NOT EXISTS seen_at timestamptz DEFAULT now()
ALTER TABLE users ALTER COLUMN plan SET DEFAULT 'free'
ALTER TABLE users ALTER COLUMN plan DROP DEFAULT
ALTER TABLE users ALTER COLUMN name DROP NOT NULL
ALTER TABLE users RENAME COLUMN name TO full_name
ALTER TABLE users RENAME TO people
ALTER TABLE users DROP COLUMN IF EXISTS nickname
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total_cents >= 0) NOT VALID
ALTER TABLE orders VALIDATE CONSTRAINT total_positive
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID
ALTER TABLE orders DROP CONSTRAINT total_positive
ALTER TABLE users SET (fillfactor = 80)
ALTER TABLE users ENABLE ROW LEVEL SECURITY
CREATE POLICY own ON users USING (id = current_setting('app.user')::bigint)
GRANT SELECT, UPDATE ON users TO reporting
COMMENT ON TABLE users IS 'DELETE FROM users'
SET lock_timeout = '2s'
INSERT INTO users (email) VALUES ('a@example.org') ON CONFLICT DO NOTHING
INSERT INTO plans (name, cents) VALUES ('free', 0), ('pro', 900)
DROP TABLE IF EXISTS "old"
DROP TYPE IF EXISTS "old_plan"
DO $$ BEGIN CREATE TYPE mood AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$
SELECT setval('invoice_number', 5000)
`;

const mysqlStatements = `
CREATE TABLE \`sessions\` (\`id\` varchar(36) NOT NULL, \`user_id\` bigint NOT NULL, CONSTRAINT \`sessions_id\` PRIMARY KEY (\`id\`))
CREATE TABLE IF NOT EXISTS tags (id serial PRIMARY KEY, name varchar(40) NOT NULL UNIQUE) ENGINE = InnoDB
CREATE VIEW open_orders AS SELECT * FROM orders WHERE state = 'open'
CREATE INDEX \`orders_state\` ON \`orders\` (\`state\`)
CREATE UNIQUE INDEX users_email ON users (email)
DROP INDEX \`orders_state\` ON \`orders\`
ALTER TABLE \`users\` ADD \`phone\` varchar(20)
ALTER TABLE \`users\` ADD \`locale\` varchar(5) DEFAULT 'en' NOT NULL
ALTER TABLE users ADD COLUMN seen_at datetime NULL, ADD COLUMN left_at datetime NULL
ALTER TABLE users ALTER COLUMN plan SET DEFAULT 'free'
ALTER TABLE users RENAME COLUMN name TO full_name
ALTER TABLE users RENAME TO people
RENAME TABLE users TO people
ALTER TABLE users MODIFY name varchar(200), ALGORITHM=INSTANT
ALTER TABLE users ADD INDEX users_plan (plan), ALGORITHM=INPLACE, LOCK=NONE
DROP TABLE IF EXISTS \`old\`
DROP VIEW old_view
INSERT INTO users (email) VALUES ('a@example.org')
INSERT IGNORE INTO plans (name) VALUES ('free'), ('pro')
INSERT INTO plans (name, cents) VALUES ('pro', 900) ON DUPLICATE KEY UPDATE cents = 900
SET NAMES utf8mb4
# DELETE FROM users
GRANT SELECT ON shop.users TO 'reporting'@'%'
CREATE TRIGGER keep BEFORE INSERT ON orders FOR EACH ROW SET NEW.total = NEW.total_cents / 100
SELECT 'UPDATE users SET plan = 1' AS text
`;

const users = sqliteTable("users", {
  id: integer("id").primaryKey(),
  email: text("email").notNull(),
  name: text("name"),
  born: integer("born"),
  ageGroup: text("age_group"),
  plan: text("plan").notNull(),
  lastOrderAt: integer("last_order_at"),
  ordersCount: integer("orders_count"),
  spent: real("spent"),
  deletedAt: integer("deleted_at"),
});
const orders = sqliteTable("orders", {
  id: text("id").primaryKey(),
  userId: integer("user_id").notNull(),
  state: text("state").notNull(),
  totalCents: integer("total_cents").notNull(),
  total: real("total"),
  placedAt: integer("placed_at").notNull(),
  note: text("note"),
  linesCount: integer("lines_count"),
});
const lines = sqliteTable("order_lines", {
  orderId: text("order_id").notNull(),
  line: integer("line").notNull(),
  sku: text("sku").notNull(),
  quantity: integer("quantity").notNull(),
  cents: integer("cents").notNull(),
  productName: text("product_name"),
});
const products = sqliteTable("products", {
  sku: text("sku").primaryKey(),
  name: text("name").notNull(),
  slug: text("slug"),
  tags: text("tags"),
});

const ofUsers = { table: users, key: "id" } as const;
const ofOrders = { table: orders, key: "id" } as const;
const ofLines = { table: lines, key: ["orderId", "line"] } as const;
const ofProducts = { table: products, key: "sku" } as const;
const slugOf = (name: string) => name.toLowerCase().replaceAll(" ", "-");

const definitions: readonly Migration[] = [
  defineMigration({ name: "trim", ...ofUsers, set: { ageGroup: sql`trim(${users.name})` } }),
  defineMigration({ name: "constant", ...ofUsers, set: { plan: "free" }, where: isNull(users.deletedAt) }),
  defineMigration({
    name: "case",
    ...ofUsers,
    set: { ageGroup: sql`case when born > 2000 then 'young' else 'old' end` },
  }),
  defineMigration({
    name: "latest",
    ...ofUsers,
    set: { lastOrderAt: sql`(select max(placed_at) from orders where user_id = ${users.id})` },
  }),
  defineMigration({
    name: "latest-or-none",
    ...ofUsers,
    set: { lastOrderAt: sql`coalesce((select max(placed_at) from orders where user_id = ${users.id}), 0)` },
  }),
  defineMigration({
    name: "aggregate",
    ...ofUsers,
    aggregate: {
      child: orders,
      parentKey: "userId",
      set: { lastOrderAt: { max: "placedAt" }, ordersCount: { count: true } },
    },
  }),
  defineMigration({
    name: "aggregate-of-open-ones",
    ...ofUsers,
    aggregate: {
      child: orders,
      parentKey: "userId",
      where: eq(orders.state, "open"),
      set: { ordersCount: { count: true } },
    },
  }),
  defineMigration({ name: "cents", ...ofOrders, set: { total: sql`${orders.totalCents} / 100.0` } }),
  defineMigration({
    name: "cents-of-some",
    ...ofOrders,
    set: { total: sql`${orders.totalCents} / 100.0` },
    where: sql`${and(eq(orders.state, "paid"), gt(orders.placedAt, 1_600_000_000))}`,
  }),
  defineMigration({
    name: "lines",
    ...ofOrders,
    set: { linesCount: sql`(select count(*) from order_lines where order_id = ${orders.id})` },
  }),
  defineMigration({ name: "note", ...ofOrders, set: { note: null } }),
  defineMigration({
    name: "product",
    ...ofLines,
    set: { productName: sql`(select name from products where products.sku = ${lines.sku})` },
  }),
  defineMigration({ name: "composite", ...ofLines, set: { productName: sql`upper(${lines.sku})` } }),
  defineMigration({ name: "text-key", ...ofProducts, set: { slug: sql`lower(replace(${products.name}, ' ', '-'))` } }),
  defineMigration({
    name: "mapped",
    ...ofProducts,
    read: ["name"],
    write: ["slug"],
    map: ({ name }) => ({ slug: slugOf(name) }),
  }),
  defineMigration({
    name: "mapped-where",
    ...ofProducts,
    read: ["name"],
    write: ["slug"],
    where: isNull(products.slug),
    map: ({ name }) => ({ slug: slugOf(name) }),
  }),
  defineMigration({
    name: "two-columns",
    ...ofUsers,
    set: { ordersCount: sql`length(${users.email})`, spent: sql`0.0` },
    remaining: isNull(users.spent),
  }),
  defineMigration({ name: "own", ...ofUsers, run: async () => 0, remaining: isNull(users.lastOrderAt) }),
  defineMigration({
    name: "mailed",
    ...ofUsers,
    read: ["email"],
    delivery: "at-least-once",
    effect: async () => {},
  }),
  defineMigration({ name: "json", ...ofProducts, set: { tags: sql`json_array(${products.name})` } }),
];

const nowMs = Date.parse("2026-11-26T12:00:00Z");
const statementsIn = (corpus: string) => corpus.trim().split("\n");

test("M18: of what harms nobody, at most two in a hundred are objected to", async () => {
  const objections: string[] = [];
  let count = 0;
  const corpora = [
    ["sqlite", sqliteStatements],
    ["postgresql", postgresStatements],
    ["mysql", mysqlStatements],
  ] as const;
  for (const [dialect, corpus] of corpora) {
    for (const statement of statementsIn(corpus)) {
      count++;
      const planner = dialect === "sqlite" ? await sqlitePlanner(schema) : undefined;
      const isBuilt = dialect === "sqlite";
      const found = await lintSql({ file: "a.sql", text: statement }, { dialect, planner, isBuilt, nowMs });
      await planner?.close();
      if (found.length > 0) objections.push(`${dialect}: ${statement}: ${found[0]?.rule}: ${found[0]?.message}`);
    }
  }
  const planner = await sqlitePlanner(schema);
  for (const migration of definitions) {
    count++;
    const found = await lintDefinition(migration, planner);
    if (found.length > 0) objections.push(`${migration.name}: ${found[0]?.rule}: ${found[0]?.message}`);
  }
  await planner.close();
  expect(count).toBe(126);
  // 1 of 126, which is 0.8 %: that the copy is of a few rows is not looked at.
  expect(objections).toEqual([
    expect.stringMatching(/^sqlite: INSERT INTO order_lines SELECT .*: full-table-write: it copies/),
  ]);
  expect((objections.length / count) * 100).toBeLessThanOrEqual(bearable);
});
