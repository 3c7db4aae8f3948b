import { readFileSync } from "node:fs";

/** The SQL blocks of the README, in order. */
export function readmeQueries(): string[] {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  return [...readme.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, query]) => query as string);
}
