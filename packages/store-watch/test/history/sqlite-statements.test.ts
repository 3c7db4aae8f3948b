import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { openWriterDatabase } from "../../src/history/open-database.ts";
import { SqliteGraphTables } from "../../src/history/sqlite-graph-tables.ts";
import { SqliteMirrorTables } from "../../src/history/sqlite-mirror-tables.ts";
import { VersionQueries } from "../../src/history/version-queries.ts";
import { temporaryFile } from "./helpers.ts";

/** What is asked after every commit of a graph, and the plan of each. */
function statements(): { readonly source: string; readonly plan: string }[] {
  const db = openWriterDatabase(temporaryFile(), "normal");
  onTestFinished(() => void db.close());
  const sources: string[] = [];
  const prepare = db.prepare.bind(db);
  db.prepare = ((source: string) => {
    sources.push(source);
    return prepare(source);
  }) as Database.Database["prepare"];
  const parts = [new SqliteGraphTables(db), new SqliteMirrorTables(db), new VersionQueries(db)];
  expect(parts).toHaveLength(3);
  return sources.map((source) => {
    const explained = prepare(`EXPLAIN QUERY PLAN ${source}`);
    const rows = explained.all(...givenTo(source)) as { readonly detail: string }[];
    return { source, plan: rows.map(({ detail }) => detail).join("\n") };
  });
}

/** Whatever the parameters are: a plan is made without them. */
function givenTo(source: string): unknown[] {
  const names = [...source.matchAll(/:(\w+)/g)].map(([, name]) => [name, 0]);
  const unnamed = [...source.matchAll(/\?/g)].map(() => 0);
  return names.length > 0 ? [...unnamed, Object.fromEntries(names)] : unnamed;
}

test("nothing that is asked after a commit goes over every key of a stream", () => {
  const isOverAll = /objects_1 \(stream=\?\)$/m;
  const over = statements().filter(({ plan }) => isOverAll.test(plan));
  // The first time that a graph mirrors a store.
  expect(over.map(({ source }) => source)).toEqual([expect.stringContaining("INTO dirty (object) SELECT id")]);
});

test("no statement of a graph that sorts compares with the bare value of a parameter, which would prepare it again for each", () => {
  const sorts = /ORDER BY|GROUP BY|^SELECT (max|min)\(/;
  const ofGraphs = statements().filter(({ source }) => !source.includes('"'));
  const bare = ofGraphs.filter(({ source }) => sorts.test(source) && /WHERE.*[^<>] ?= ?[?:]/s.test(source));
  expect(bare.map(({ source }) => source)).toEqual([]);
  expect(ofGraphs.length).toBeGreaterThan(40);
});
