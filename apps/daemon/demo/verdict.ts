import { join } from "node:path";
import { sortableInteger } from "@tidemark/store-watch";
import Database from "better-sqlite3";
import { type Acknowledged, group, type Place } from "./place.ts";

/** What a site's database has, read without any code of ours. */
export interface HistoryFile {
  /** Of the etcd's own stream: `key revision`. */
  readonly revisions: ReadonlySet<string>;
  /** Of the group. */
  readonly values: ReadonlySet<string>;
  readonly versions: number;
  readonly conflicts: number;
  /** Every version and link of the group with what it was made from, as one text. */
  readonly graph: string;
}

export function readHistory({ dataDir }: Place): HistoryFile {
  const db = new Database(join(dataDir, "replica.db"), { readonly: true });
  try {
    const rows = db.prepare(
      `SELECT CAST(o.key AS TEXT) AS key, v.version AS version, CAST(v.value AS TEXT) AS value
       FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream WHERE s.name = ?`,
    );
    const of = (stream: string) =>
      rows.all(stream) as { readonly key: string; readonly version: string; readonly value: string | null }[];
    const shared = of(group);
    const count = db.prepare("SELECT count(DISTINCT object) AS n FROM conflicts").get() as { readonly n: number };
    const graph = db.prepare(
      `SELECT n.name AS origin, v.gen, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version, v.level,
         (SELECT group_concat(p) FROM (SELECT pn.name || ' ' || pv.gen AS p FROM versions pv JOIN origins pn ON pn.id = pv.origin
           WHERE pv.pos = v.parent OR pv.pos IN (SELECT parent FROM edges WHERE child = v.pos) ORDER BY 1)) AS parents
       FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream JOIN origins n ON n.id = v.origin
       WHERE s.name = ? ORDER BY n.name, v.gen`,
    );
    const links = db.prepare(
      `SELECT n.name AS origin, l.gen, c.gen AS child, p.gen AS parent FROM links l JOIN origins n ON n.id = l.origin
       JOIN versions c ON c.pos = l.child JOIN versions p ON p.pos = l.parent ORDER BY n.name, l.gen`,
    );
    return {
      graph: JSON.stringify([graph.all(group), links.all()]),
      revisions: new Set(of("etcd").map(({ key, version }) => `${key} ${version}`)),
      values: new Set(shared.flatMap(({ value }) => (value === null ? [] : [value]))),
      versions: shared.length,
      conflicts: count.n,
    };
  } finally {
    db.close();
  }
}

/** Puts that etcd acknowledged and a history does not have: its own by revision, everybody's by value. */
export function missing(place: Place, history: HistoryFile, all: readonly Acknowledged[]): string[] {
  return [
    ...place.acknowledged
      .filter(({ key, revision }) => !history.revisions.has(`${key} ${sortableInteger(revision)}`))
      .map(({ key, revision }) => `${key} at revision ${revision} is not in the history of etcd at ${place.name}`),
    ...all
      .filter(({ value }) => !history.values.has(value))
      .map(({ key, value }) => `${key} = ${JSON.stringify(value)} is not in the shared history at ${place.name}`),
  ];
}
