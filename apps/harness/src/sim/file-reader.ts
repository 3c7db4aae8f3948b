import Database from "better-sqlite3";

/** A graph without anything that belongs to one database: positions, row ids, times of commits. */
export interface GraphDump {
  /** Nothing was pruned here, nor before it came here. */
  readonly isWhole: boolean;
  readonly versions: readonly {
    readonly id: string;
    readonly value: string | null;
    readonly isMerge: number;
    readonly isFork: number;
  }[];
  readonly links: readonly unknown[];
  readonly heads: readonly { readonly key: string; readonly heads: string; readonly shown: string | null }[];
}

/** A version of a graph as one file has it. */
export interface VersionRow {
  /** Who made it, and which of theirs it is. */
  readonly origin: string;
  readonly gen: number;
  readonly pos: number;
  readonly key: string;
  readonly value: string | null;
  readonly stamp: string;
  readonly isMerge: number;
  /** When it was committed here, by the wall clock. */
  readonly atMs: number;
  /** Names of what it was made from, as far as that is here. */
  readonly parents: string | null;
}

/** A link of a graph as one file has it. */
export interface LinkRow {
  readonly gen: number;
  readonly child: string | null;
  readonly parent: string | null;
}

/** Generations of origins. */
export type Vector = ReadonlyMap<string, number>;

/** An independent look at a place's file. */
export class FileReader {
  readonly #db: Database.Database;
  readonly #statements = new Map<string, Database.Statement<unknown[]>>();
  readonly #cursor: Database.Statement<[string], string | null>;

  constructor(file: string) {
    this.#db = new Database(file, { readonly: true });
    this.#cursor = this.#db.prepare<[string], string | null>("SELECT cursor FROM streams WHERE name = ?").pluck();
  }

  cursorOf(stream: string): string | undefined {
    return this.#cursor.get(stream) ?? undefined;
  }

  /** Every value that the stream of a store brought. */
  valuesOf(stream: string): readonly string[] {
    return this.#db
      .prepare(
        `SELECT DISTINCT CAST(v.value AS TEXT) FROM versions v JOIN objects o ON o.id = v.object
         JOIN streams s ON s.id = o.stream WHERE s.name = ? AND v.value IS NOT NULL`,
      )
      .pluck()
      .all(stream) as string[];
  }

  graph(): GraphDump {
    const id = "(SELECT o.name || ':' || w.gen FROM versions w JOIN origins o ON o.id = w.origin WHERE w.pos = ";
    return {
      isWhole: this.horizon().size === 0,
      versions: this.#db
        .prepare(
          `SELECT n.name || ':' || v.gen AS id, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version,
             v.level, v.via = 6 AS isMerge, ${id} v.parent) AS parent,
             (SELECT group_concat(p) FROM (SELECT ${id} e.parent) AS p FROM edges e WHERE e.child = v.pos ORDER BY p)) AS more,
             (SELECT count(*) > 1 FROM versions c WHERE c.parent = v.pos) AS isFork
           FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream
           JOIN origins n ON n.id = v.origin WHERE s.kind = 'graph' ORDER BY n.name, v.gen`,
        )
        .all() as GraphDump["versions"],
      links: this.#db
        .prepare(
          `SELECT n.name || ':' || l.gen AS id, ${id} l.child) AS child, ${id} l.parent) AS parent
           FROM links l JOIN origins n ON n.id = l.origin ORDER BY n.name, l.gen`,
        )
        .all(),
      heads: this.#db
        .prepare(
          `SELECT CAST(o.key AS TEXT) AS key, ${id} o.head) || coalesce(',' || (SELECT group_concat(h) FROM
             (SELECT ${id} c.head) AS h FROM conflicts c WHERE c.object = o.id ORDER BY h)), '') AS heads,
             (SELECT CAST(v.value AS TEXT) FROM versions v WHERE v.pos = o.head) AS shown
           FROM objects o JOIN streams s ON s.id = o.stream WHERE s.kind = 'graph' ORDER BY o.key`,
        )
        .all() as GraphDump["heads"],
    };
  }

  /** The last generation of each origin that is here. */
  vector(): Vector {
    return this.#vector(
      "SELECT o.name, max(g.last) FROM generations g JOIN origins o ON o.id = g.origin GROUP BY o.id",
    );
  }

  /** Of each origin up to where superseded versions may be gone. */
  horizon(): Vector {
    return this.#vector("SELECT o.name, h.generation FROM horizons h JOIN origins o ON o.id = h.origin");
  }

  /** When the batch was made that ends with a generation, by its stamp. */
  stampMs(origin: string, last: number): number | undefined {
    const row = this.#statement(
      "SELECT g.stamp_ms AS ms FROM generations g JOIN origins o ON o.id = g.origin WHERE o.name = ? AND g.last = ?",
    ).get(origin, last) as { readonly ms: number } | undefined;
    return row?.ms;
  }

  /** When something was committed last, by the wall clock; 0: never. */
  lastCommitMs(): number {
    const row = this.#statement("SELECT max(committed_at) AS ms FROM batches").get() as { readonly ms: number | null };
    return row.ms ?? 0;
  }

  /** Versions of an origin beyond a generation. */
  versionsAfter(origin: string, generation: number): readonly VersionRow[] {
    const name = "SELECT n.name || ':' || p.gen AS name FROM versions p JOIN origins n ON n.id = p.origin WHERE p.pos";
    return this.#statement(
      `SELECT m.name AS origin, v.gen, v.pos, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version AS stamp,
         v.via = 6 AS isMerge, b.committed_at AS atMs,
         (SELECT group_concat(name) FROM (${name} = v.parent UNION ${name} IN (SELECT parent FROM edges WHERE child = v.pos)))
         AS parents
       FROM versions v JOIN origins m ON m.id = v.origin JOIN objects o ON o.id = v.object JOIN batches b ON b.id = v.batch
       WHERE v.origin = (SELECT id FROM origins WHERE name = ?) AND v.origin <> 1 AND v.gen > ? ORDER BY v.gen`,
    ).all(origin, generation) as VersionRow[];
  }

  /** Links of an origin beyond a generation. */
  linksAfter(origin: string, generation: number): readonly LinkRow[] {
    const id = "(SELECT n.name || ':' || v.gen FROM versions v JOIN origins n ON n.id = v.origin WHERE v.pos = ";
    return this.#statement(
      `SELECT l.gen, ${id} l.child) AS child, ${id} l.parent) AS parent FROM links l
       WHERE l.origin = (SELECT id FROM origins WHERE name = ?) AND l.gen > ?`,
    ).all(origin, generation) as LinkRow[];
  }

  /** Names of all versions of graphs that are here. */
  versionNames(): Set<string> {
    const rows = this.#statement(
      "SELECT n.name || ':' || v.gen AS id FROM versions v JOIN origins n ON n.id = v.origin WHERE v.origin <> 1",
    ).all() as { readonly id: string }[];
    return new Set(rows.map(({ id }) => id));
  }

  /**
   * What is neither a head nor of any use any more: no store shows it or may have been told of it, no conflict of its group is
   * open, and it is not the newest version, from which positions go on.
   */
  leftovers(): readonly string[] {
    return this.#statement(
      `SELECT n.name || ':' || v.gen AS id FROM versions v JOIN origins n ON n.id = v.origin JOIN objects o ON o.id = v.object
       WHERE v.origin <> 1 AND v.pos <> o.head AND NOT EXISTS (SELECT 1 FROM conflicts)
         AND NOT EXISTS (SELECT 1 FROM mirrors m WHERE m.shown = v.pos) AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.version = v.pos)
         AND v.pos < (SELECT max(pos) FROM versions)`,
    )
      .all()
      .map((row) => (row as { readonly id: string }).id);
  }

  #vector(sql: string): Vector {
    return new Map(this.#statement(sql).raw().all() as [string, number][]);
  }

  #statement(sql: string): Database.Statement<unknown[]> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare<unknown[]>(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  close(): void {
    this.#db.close();
  }
}
