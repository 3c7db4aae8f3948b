import { createServer } from "node:net";
import { once } from "node:events";
import { expect, test } from "vitest";
import { freePorts } from "../src/ports.ts";

test("ports are different, can be listened on, and are none that a system gives out by itself", async () => {
  const ports = await freePorts(20);
  expect(new Set(ports).size).toBe(20);
  expect(Math.max(...ports)).toBeLessThan(32_768);
  const servers = ports.map((port) => createServer().listen(port, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  for (const server of servers) server.close();
});
