import { defineConfig } from "@tidemark/daemon";

export default defineConfig({
  sources: [{ kind: "etcd", endpoints: ["http://127.0.0.1:2379"], prefix: "/config/" }],
  sites: [
    {
      name: "oslo",
      group: "config",
      topics: "grpc://hub.example.org:2136/local",
      source: "etcd",
    },
  ],
});
