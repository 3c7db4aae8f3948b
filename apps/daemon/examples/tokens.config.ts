import { defineConfig } from "@tidemark/daemon";

export default defineConfig({
  listen: "0.0.0.0:4650",
  tls: { certFile: "server.pem", keyFile: "server.key" },
  tokens: [
    { name: "dashboard", token: { env: "DASHBOARD_TOKEN" }, rights: "read" },
    { name: "ops", token: { file: "/run/secrets/ops" }, rights: "admin" },
  ],
  history: { database: { env: "HISTORY_URL" } },
});
