import { existsSync } from "node:fs";
import { defineMigration } from "@tidemark/migrate";
import { notes } from "./schema.ts";

/** Keeps its thread until the file named in the row exists. */
export const spinning = defineMigration({
  name: "spinning",
  table: notes,
  key: "id",
  read: ["body"],
  write: ["length"],
  map({ body }) {
    while (!existsSync(body));
    return { length: body.length };
  },
});
