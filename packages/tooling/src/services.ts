import { type TestFunction, test } from "vitest";

export type Service = "etcd" | "chromium" | "postgres" | "mariadb" | "python-grpcio";

const listed = (variable: string) => (process.env[variable] ?? "").split(",").filter((name) => name !== "");

/** Whether the test command found the service on this machine. */
export function hasService(service: Service): boolean {
  return listed("TIDEMARK_SERVICES").includes(service);
}

/**
 * A `test` that needs a real service: it runs where the service is, is skipped by name where it is not, and fails where
 * TIDEMARK_REQUIRE_SERVICES names it and it is missing.
 */
export function serviceTest(service: Service): (name: string, run: TestFunction, timeoutMs?: number) => void {
  return (name, run, timeoutMs) => {
    if (hasService(service)) {
      test(name, run, timeoutMs);
    } else if (listed("TIDEMARK_REQUIRE_SERVICES").includes(service)) {
      test(name, () => {
        throw new Error(`TIDEMARK_REQUIRE_SERVICES names ${service}, but TIDEMARK_SERVICES does not list it.`);
      });
    } else {
      test.skip(`${name} (needs ${service})`, run);
    }
  };
}
