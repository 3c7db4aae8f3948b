// Loaded by the thread that does them: a column of the row itself, again and again.

import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { things } from "./rows-definition.ts";

const pass = (number: number) =>
  defineMigration({
    name: `pass-${number}`,
    table: things,
    key: "id",
    ...(number > 1 && { dependsOn: [`pass-${number - 1}`] }),
    set: { b: number % 2 === 1 ? sql`lower(${things.a})` : sql`upper(${things.a})` },
  });

export const passes = Array.from({ length: 10 }, (_, index) => pass(index + 1));
