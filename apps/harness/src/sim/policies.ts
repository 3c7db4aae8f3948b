import type { ConflictPolicy } from "@tidemark/sync";
import type { PolicyPlan } from "./plan.ts";

/** `join` makes one value of all, in an order that does not depend on where it is made. */
export function policyOf(plan: PolicyPlan): ConflictPolicy {
  if (plan !== "join") return plan;
  return (group) => ({
    values: group.keys
      .filter(({ heads }) => heads.length > 1)
      .map(({ key, heads }) => {
        const texts = heads.map(({ value }) => (value === undefined ? "-" : Buffer.from(value).toString()));
        return { key, value: Buffer.from(texts.toSorted().join("+").slice(0, 99)) };
      }),
  });
}
