import { openHistory } from "@tidemark/store-watch";

await using history = await openHistory({ database: "postgres://tidemark@db.example/tidemark" });
console.log((await history.fsck()).isClean ? "sound" : "broken");
