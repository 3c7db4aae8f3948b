import { etcdSource } from "@tidemark/source-etcd";
import type { FrameSink } from "@tidemark/store-watch/contract";

const [endpoint = "http://127.0.0.1:2379"] = process.argv.slice(2);
const done = new AbortController();

// The contract without a database: what is between two boundaries is one transaction of etcd, or nothing.
const sink: FrameSink = {
  write(frame) {
    if (frame.type === "change") console.log(Buffer.from(frame.key).toString(), frame.version);
    if (frame.type === "snapshot-end") done.abort();
    return true;
  },
  ready: () => Promise.resolve(),
  alive() {},
  status(status) {
    if (status.state === "waiting") console.log(status.error);
  },
};

const source = etcdSource({
  endpoints: [endpoint, "http://127.0.0.1:22379"],
  range: { start: "/config/a", end: "/config/n" },
  credentials: { user: "reader", password: "secret" },
});
await source.run(undefined, sink, done.signal).catch(() => {});
