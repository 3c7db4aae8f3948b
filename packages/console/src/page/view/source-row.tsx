import type { LastAudit, SourceFact, StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { countText } from "../text/time.ts";
import { Ago, SafeText } from "./text.tsx";

/** What a source itself counts, and how the replica compared with it when somebody looked last. */
export function SourceRow({ stream, nowMs }: { readonly stream: StreamStatus; readonly nowMs: number }) {
  const { sourceFacts, lastAudit } = stream;
  if (sourceFacts.length === 0 && lastAudit === undefined) return null;
  return (
    <div class="source-row" role="group" aria-label={`What the source of ${stream.name} counts`}>
      <dl class="counts">
        {sourceFacts.map((fact) => (
          <Fact key={fact.name} fact={fact} />
        ))}
        {lastAudit !== undefined && <Audit audit={lastAudit} nowMs={nowMs} />}
      </dl>
    </div>
  );
}

function Fact({ fact: { name, value, notable } }: { readonly fact: SourceFact }) {
  return (
    <div>
      <dt>{name.charAt(0).toUpperCase() + name.slice(1)}</dt>
      <dd class={notable ? "bad" : undefined}>
        {value.case === "text" ? <SafeText text={value.value} /> : countText(value.value ?? 0n)}
      </dd>
    </div>
  );
}

const verdicts: Readonly<Record<string, string>> = {
  equal: "Equal",
  repaired: "Repaired",
  different: "Different",
  inconclusive: "No result",
  failed: "Failed",
};

function Audit({ audit, nowMs }: { readonly audit: LastAudit; readonly nowMs: number }) {
  const { verdict, atMs, differences, truncated, reason } = audit;
  const isGood = verdict === "equal" || verdict === "repaired";
  const least = truncated ? "at least " : "";
  return (
    <div>
      <dt>
        Audit <Ago ms={atMs} nowMs={nowMs} />
      </dt>
      <dd class={isGood ? undefined : "bad"} title={reason === "" ? undefined : reason}>
        {verdicts[verdict] ?? verdict}
        {differences > 0n && `, ${least}${countText(differences)} ${differences === 1n ? "key" : "keys"}`}
      </dd>
    </div>
  );
}
