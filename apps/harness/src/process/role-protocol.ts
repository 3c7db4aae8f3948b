/** What a role's process offers: named calls with one argument each. */
export type RoleMethods = Readonly<Record<string, (argument: never) => unknown>>;

/** How the parent names a call and the role answers it. Sent with structured clone, so bigints and bytes survive. */
export interface RoleRequest {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

/** Asks the role's process to end by itself, as a program that is done. */
export const exitRequest = "exit";

export type RoleReply =
  | { readonly type: "ready" }
  | { readonly type: "event"; readonly event: unknown }
  | { readonly type: "result"; readonly id: number; readonly result: unknown }
  | { readonly type: "failure"; readonly id: number; readonly message: string };
