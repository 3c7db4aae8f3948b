import { StreamError } from "./stream-error.ts";

/** @throws {StreamError} `OPTIONS_INVALID`. */
export function requireAbove(name: string, value: number, bound: number): void {
  if (!(value > bound)) throw new StreamError("OPTIONS_INVALID", `${name} must be above ${bound}, got ${value}`);
}

/** @throws {StreamError} `OPTIONS_INVALID`. */
export function requireAtLeast(name: string, value: number, bound: number): void {
  if (!(value >= bound)) throw new StreamError("OPTIONS_INVALID", `${name} must be at least ${bound}, got ${value}`);
}
