import { join } from "node:path";
import { etcdSink, etcdSource } from "@tidemark/source-etcd";
import { openHistory, openWatcher } from "@tidemark/store-watch";
import { directChannels, openSite } from "@tidemark/sync";

interface MirrorOptions {
  readonly from: string;
  readonly to: string;
  readonly prefix: string;
  /** Both histories are there; what is in it is gone on with. */
  readonly folder: string;
}

export type MirrorRole = {
  start(options: MirrorOptions): Promise<void>;
};

/** What a one-way mirror of the daemon runs. */
export function createMirrorRole(): MirrorRole {
  return {
    async start({ from, to, prefix, folder }) {
      const open = async (name: string, endpoint: string) => {
        const history = await openHistory({ file: join(folder, `${name}.db`), synchronous: "full" });
        const source = etcdSource({ endpoints: [endpoint], prefix });
        await openWatcher({ source, history, name: "etcd" });
        return { history, graph: await history.openGraph({ name: "mirror", description: "a benchmark" }) };
      };
      const [here, there] = [await open("from", from), await open("to", to)];
      const [out, back] = directChannels(here.graph, there.graph);
      openSite({ graph: here.graph, channel: out, store: { history: here.history, stream: "etcd" } });
      const sink = etcdSink({ endpoints: [to], prefix });
      openSite({ graph: there.graph, channel: back, store: { history: there.history, stream: "etcd", sink } });
    },
  };
}
