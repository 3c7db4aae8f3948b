import { Code, ConnectError } from "@connectrpc/connect";

export const timeoutUnitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * gRPC over HTTP/2, Timeout: at most 8 digits and a unit.
 *
 * @throws {ConnectError} `InvalidArgument`
 */
export function parseTimeout(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const parts = /^(\d{1,8})([HMSmun])$/.exec(String(header));
  if (parts === null) {
    throw new ConnectError(
      `expected a grpc-timeout of up to 8 digits and a unit, got ${JSON.stringify(header)}`,
      Code.InvalidArgument,
    );
  }
  return Number(parts[1]) * (timeoutUnitMs[parts[2] as string] as number);
}

/** In the finest unit that 8 digits can hold. */
export function formatTimeout(timeoutMs: number): string {
  const ms = Math.max(0, timeoutMs);
  if (ms < 1e8) return `${Math.ceil(ms)}m`;
  if (ms < 1e11) return `${Math.ceil(ms / 1000)}S`;
  return `${Math.min(99_999_999, Math.ceil(ms / 3_600_000))}H`;
}
