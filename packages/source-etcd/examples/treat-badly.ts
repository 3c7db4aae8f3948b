import { etcdSource } from "@tidemark/source-etcd";
import { startEtcd, tcpProxy } from "@tidemark/source-etcd/testing";
import { openHistory, openWatcher } from "@tidemark/store-watch";

await using etcd = await startEtcd();
await using proxy = await tcpProxy({ target: etcd.endpoint });
await using history = await openHistory({ file: `${etcd.dir}.history.db` });
const source = etcdSource({ endpoints: [proxy.endpoint], prefix: "" });
await using watcher = await openWatcher({ source, history, name: "etcd" });

await watcher.waitFor("now");
for (let index = 0; index < 100; index++) await etcd.client.put(`key-${index}`, "before");
proxy.cut();
await etcd.restart();
await etcd.client.put("key-7", "after");
await watcher.waitFor("now");

const { items } = await history.log("etcd", Buffer.from("key-7"));
const values = items.map(({ value }) => Buffer.from(value ?? []).toString());
console.log(values.join(", then "), await history.gaps());
