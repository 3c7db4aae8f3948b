import { spawn } from "node:child_process";

/** What started the daemon and wants to know how it is; nobody, or systemd. */
export interface ServiceManager {
  /** It serves; the text is for people. */
  ready(text: string): void;
  stopping(): void;
  /** From now on it is told that the daemon works, as often as it asked for, whenever the check says so. */
  watch(check: () => Promise<unknown>): void;
  close(): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * systemd listens on a Unix datagram socket, which Node does not have. Its own `systemd-notify` is there wherever systemd
 * is, and spares a native addon for three messages and a heartbeat.
 *
 * @param onProblem what could not be told.
 */
export function createServiceManager(
  onProblem: (reason: string) => void,
  env: Environment = process.env,
): ServiceManager {
  if (!env["NOTIFY_SOCKET"]) return { ready() {}, stopping() {}, watch() {}, close() {} };
  const send = (...lines: string[]) => {
    const child = spawn("systemd-notify", lines, { stdio: "ignore" });
    child.once("error", (error) => onProblem(error.message));
    child.once("exit", (code) => {
      if (code !== 0) onProblem(`systemd-notify ended with ${code}`);
    });
    child.unref();
  };
  let timer: NodeJS.Timeout | undefined;
  return {
    ready: (text) => send("READY=1", `STATUS=${text}`),
    stopping: () => send("STOPPING=1"),
    watch(check) {
      const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
      if (usec === undefined || (pid !== undefined && Number(pid) !== process.pid)) return;
      let isChecking = false;
      timer = setInterval(
        () => {
          // One that hangs is not asked twice; what it does not say is what systemd goes by.
          if (isChecking) return;
          isChecking = true;
          check().then(
            () => {
              isChecking = false;
              send("WATCHDOG=1");
            },
            (error: unknown) => {
              isChecking = false;
              onProblem(error instanceof Error ? error.message : String(error));
            },
          );
        },
        Math.max(1, Number(usec) / 2000),
      ).unref();
    },
    close: () => clearInterval(timer),
  };
}
