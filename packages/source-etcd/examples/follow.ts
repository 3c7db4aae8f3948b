import { openHistory, openWatcher } from "@tidemark/store-watch";
import { etcdSource } from "@tidemark/source-etcd";

const [endpoint = "http://127.0.0.1:2379", file = "config.db"] = process.argv.slice(2);

const source = etcdSource({ endpoints: [endpoint], prefix: "/config/" });
await using history = await openHistory({ file });
await using watcher = await openWatcher({ source, history, name: "config" });

// Everything that etcd had accepted before is in SQL then.
await watcher.waitFor("now");
const { items } = await history.list({ stream: "config" });
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
for (const { key, value } of items) console.log(`${text(key)} = ${text(value)}`);
