import { defineConfig } from "@tidemark/daemon";

export default defineConfig({
  dataDir: "./tidemark-data",
  listen: "127.0.0.1:4650",
  sources: [
    {
      kind: "etcd",
      endpoints: ["http://127.0.0.1:2379"],
      prefix: "/config/",
    },
  ],
});
