// What systemd hears: through its own tool, from the real process, at a real datagram socket.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { startDaemon, testFolder, until } from "./support.ts";

function has(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

// Node has no datagram sockets of this kind, so somebody else listens.
const listener = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True: print(s.recv(4096).decode(), flush=True)
`;

test.skipIf(!has("systemd-notify") || !has("python3"))(
  "systemd is told when the daemon serves, that it works, and that it stops",
  async () => {
    const socket = join(testFolder(), "notify");
    const manager = spawn("python3", ["-c", listener, socket], { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void manager.kill("SIGKILL"));
    let heard = "";
    manager.stdout.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    await until(() => heard.includes("bound"));
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "1000000" };
    const daemon = await startDaemon(["--data", testFolder(), "--no-topics"], { env });
    await until(() => heard.includes("READY=1") && heard.includes(`STATUS=serves ${daemon.http}`));
    await until(() => heard.split("WATCHDOG=1").length > 3);
    const closed = once(daemon.child, "close");
    daemon.child.kill("SIGTERM");
    await until(() => heard.includes("STOPPING=1"));
    await closed;
    expect(daemon.child.exitCode).toBe(0);
  },
);

test.skipIf(!has("systemd-analyze"))("the unit is one that systemd takes, and lets the service do little", () => {
  const unit = fileURLToPath(new URL("../packaging/tidemark.service", import.meta.url));
  execFileSync("systemd-analyze", ["verify", unit], { stdio: "pipe" });
  const said = execFileSync("systemd-analyze", ["security", "--offline=true", "--threshold=20", unit]).toString();
  expect(said).toMatch(/Overall exposure level.*OK/);
  expect(readFileSync(unit, "utf8")).toContain("Type=notify");
});
