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

test("who asks at the same time, or again, gets others", async () => {
  const asked = await Promise.all([freePorts(10), freePorts(10), freePorts(10)]);
  expect(new Set([...asked.flat(), ...(await freePorts(10))]).size).toBe(40);
});

test("a port that somebody listens on is none of them", async () => {
  // The next one that would be given.
  const [last = 0] = await freePorts(1);
  const server = createServer().listen(last + 1, "127.0.0.1");
  await Promise.race([once(server, "listening"), once(server, "error")]);
  expect(await freePorts(5)).not.toContain(last + 1);
  server.close();
});
