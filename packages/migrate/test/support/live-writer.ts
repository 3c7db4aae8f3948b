// Writes to the table a migration works on, as an application would, until its input ends: live-writer.ts <file> <seed>
// Then it prints the text it wrote last for every row it wrote.

import { seededRng } from "@tidemark/clock";
import Database from "better-sqlite3";

const [, , file = "", seed = "1"] = process.argv;
const rng = seededRng(Number(seed));
const db = new Database(file);
db.pragma("busy_timeout = 20000");
const rows = db.prepare("select count(*) from notes").pluck().get() as number;
// The new version of the application keeps the new column by itself.
const update = db.prepare("update notes set body = ?, length = ? where id = ?");
const insert = db.prepare("insert into notes (body, length) values (?, ?)");

const written: Record<string, string> = {};
let isOver = false;
process.stdin.on("end", () => {
  isOver = true;
});
process.stdin.resume();
process.stdout.write("ready\n");
while (!isOver) {
  const body = "x".repeat(rng.int(1, 40));
  if (rng.int(0, 10) === 0) written[String(insert.run(body, body.length).lastInsertRowid)] = body;
  else {
    const id = rng.int(1, rows + 1);
    update.run(body, body.length, id);
    written[String(id)] = body;
  }
  await new Promise((resolve) => setTimeout(resolve, rng.int(0, 3)));
}
process.stdout.write(JSON.stringify(written));
