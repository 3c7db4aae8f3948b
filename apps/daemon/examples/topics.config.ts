import { defineConfig } from "@tidemark/daemon";

export default defineConfig({
  topicsListen: "0.0.0.0:2136",
  topicsPublicHost: "topics.example.org",
  topicsTls: { certFile: "server.pem", keyFile: "server.key" },
  topicsAuth: {
    users: [
      { name: "ops", password: { env: "OPS_PASSWORD" }, rights: "all" },
      {
        name: "shop",
        tokens: [{ file: "/run/secrets/shop" }],
        rights: [{ topic: "/local/shop/*", can: ["write"] }],
      },
    ],
  },
});
