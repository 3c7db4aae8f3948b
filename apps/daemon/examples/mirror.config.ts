import { defineConfig } from "@tidemark/daemon";

export default defineConfig({
  sources: [{ kind: "etcd", endpoints: ["http://127.0.0.1:2379"], prefix: "/config/" }],
  mirrors: [{ name: "copy", from: "etcd", to: { endpoints: ["http://standby:2379"] } }],
});
