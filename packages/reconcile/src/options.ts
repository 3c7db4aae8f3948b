import { ReconcileError } from "./reconcile-error.ts";

export function requireAtLeast(name: string, value: number, least: number): void {
  if (!(value >= least)) throw new ReconcileError("OPTIONS_INVALID", `${name} must be at least ${least}, got ${value}`);
}

export function requireName(what: string, name: string): void {
  if (name === "") throw new ReconcileError("OPTIONS_INVALID", `${what} needs a name, got an empty one`);
}
