import { useState } from "preact/hooks";
import type { Quarantined } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model } from "../model.ts";
import { versionText } from "../text/version-text.ts";
import { Dialog } from "./dialog.tsx";
import { Ago, KeyText, keyLabel, SafeText, ValuePreview } from "./text.tsx";
import { useRead } from "./use-read.ts";
import { useUniqueId } from "./use-unique-id.ts";

export interface QuarantineDialogProps {
  readonly model: Model;
  readonly stream: string;
  readonly nowMs: number;
  readonly onClose: () => void;
}

/** Changes that could not be taken in, and what can be done with them. */
export function QuarantineDialog({ model, stream, nowMs, onClose }: QuarantineDialogProps) {
  const { value, error, reload } = useRead(() => model.quarantined(stream));
  return (
    <Dialog title={`Quarantine of ${stream}`} onClose={onClose}>
      <p class="hint">These changes could not be taken in and were set aside. Everything after them went on.</p>
      {error !== undefined && <p class="problem">{error}</p>}
      {value?.length === 0 && <p>Nothing is left in quarantine.</p>}
      {value !== undefined && (
        <ul class="records">
          {value.map((item) => (
            <QuarantinedItem key={item.id} model={model} item={item} nowMs={nowMs} onDone={reload} />
          ))}
        </ul>
      )}
    </Dialog>
  );
}

interface QuarantinedItemProps {
  readonly model: Model;
  readonly item: Quarantined;
  readonly nowMs: number;
  readonly onDone: () => void;
}

function QuarantinedItem({ model, item, nowMs, onDone }: QuarantinedItemProps) {
  const [reason, setReason] = useState("");
  const [isBusy, setIsBusy] = useState(false);
  const [failure, setFailure] = useState<string | undefined>(undefined);
  const reasonId = useUniqueId();
  const resolve = async (skipReason?: string) => {
    setIsBusy(true);
    const failed = await model.resolve(item.id, skipReason);
    setIsBusy(false);
    setFailure(failed);
    if (failed === undefined) onDone();
  };
  return (
    <li>
      <h3>
        <code>
          <KeyText bytes={item.key} />
        </code>{" "}
        <Ago ms={item.atMs} nowMs={nowMs} />
      </h3>
      <p class="problem">
        <SafeText text={item.error} />
      </p>
      <dl class="facts">
        <dt>Value</dt>
        <dd class="code">
          <ValuePreview value={item.value} deleted={item.deleted} />
        </dd>
        {item.version !== "" && (
          <>
            <dt>Version</dt>
            <dd>
              <code>{versionText(item.version)}</code>
            </dd>
          </>
        )}
      </dl>
      <form
        class="resolve"
        onSubmit={(event) => {
          event.preventDefault();
          void resolve(reason);
        }}
      >
        <button
          type="button"
          disabled={isBusy}
          onClick={() => void resolve()}
          aria-label={`Try again: ${keyLabel(item.key)}`}
        >
          Try again
        </button>
        <label for={reasonId}>or skip it, because</label>
        <input
          id={reasonId}
          value={reason}
          required
          placeholder="why it does not matter"
          onInput={(event) => setReason(event.currentTarget.value)}
        />
        <button type="submit" disabled={isBusy} aria-label={`Skip: ${keyLabel(item.key)}`}>
          Skip
        </button>
      </form>
      {failure !== undefined && (
        <p class="problem" role="alert">
          <SafeText text={failure} />
        </p>
      )}
    </li>
  );
}
