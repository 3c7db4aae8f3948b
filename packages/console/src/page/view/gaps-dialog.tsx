import type { Gap } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model } from "../model.ts";
import { versionText } from "../text/version-text.ts";
import { Dialog } from "./dialog.tsx";
import { Ago, SafeText } from "./text.tsx";
import { useRead } from "./use-read.ts";

const reasons: Readonly<Record<string, string>> = {
  compacted: "The source had already thrown these changes away",
  disconnected: "Not connected, and the source cannot tell what happened meanwhile",
  "epoch-changed": "The source was wiped, restored or replaced",
  "scope-changed": "What is followed was changed",
  "replica-differed": "The replica was not what its source was, and was corrected",
  "source-lost": "The source itself lost changes",
};

export interface GapsDialogProps {
  readonly model: Model;
  readonly stream: string;
  readonly nowMs: number;
  readonly onClose: () => void;
}

/** Where history is not complete, and why. */
export function GapsDialog({ model, stream, nowMs, onClose }: GapsDialogProps) {
  const { value, error } = useRead(() => model.gaps(stream));
  return (
    <Dialog title={`Gaps in ${stream}`} onClose={onClose}>
      <p class="hint">
        Between these points changes happened that nobody can tell any more. The present state is complete.
      </p>
      {error !== undefined && <p class="problem">{error}</p>}
      {value !== undefined && (
        <ul class="records">
          {value.map((gap) => (
            <GapItem key={gap.id} gap={gap} nowMs={nowMs} />
          ))}
        </ul>
      )}
    </Dialog>
  );
}

function GapItem({ gap, nowMs }: { readonly gap: Gap; readonly nowMs: number }) {
  return (
    <li>
      <h3>
        {reasons[gap.reason] ?? gap.reason} <Ago ms={gap.atMs} nowMs={nowMs} />
      </h3>
      <p>
        <SafeText text={gap.detail} />
      </p>
      <dl class="facts">
        <dt>After</dt>
        <dd>{gap.from === "" ? "unknown" : <code>{versionText(gap.from)}</code>}</dd>
        <dt>Before</dt>
        <dd>{gap.to === "" ? "unknown" : <code>{versionText(gap.to)}</code>}</dd>
        <dt>In our log</dt>
        <dd>after position {String(gap.position)}</dd>
      </dl>
    </li>
  );
}
