import type { Difference } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import type { Model } from "../model.ts";
import type { Moment } from "../state/view.ts";
import { countText } from "../text/time.ts";
import { Dialog } from "./dialog.tsx";
import { KeyText, SafeText, ValuePreview } from "./text.tsx";
import { useRead } from "./use-read.ts";

const changeTexts: Readonly<Record<string, string>> = { added: "new", changed: "changed", removed: "deleted" };

export interface SinceDialogProps {
  readonly model: Model;
  readonly at: Moment;
  readonly onClose: () => void;
}

/** Which keys are not what they were at a moment. */
export function SinceDialog({ model, at, onClose }: SinceDialogProps) {
  const { value, error } = useRead(() => model.changedSince(at));
  return (
    <Dialog title="What is different now" onClose={onClose}>
      {error !== undefined && (
        <p class="problem">
          <SafeText text={error} />
        </p>
      )}
      {value === undefined && error === undefined && <p class="hint">Reading…</p>}
      {value?.differences.length === 0 && <p>Every key has the value it had then.</p>}
      {value !== undefined && value.differences.length > 0 && (
        <>
          <p class="hint">
            {value.hasMore
              ? `The first ${countText(value.differences.length)} keys that are not what they were:`
              : `${countText(value.differences.length)} ${value.differences.length === 1 ? "key is" : "keys are"} not what they were:`}
          </p>
          <ul class="differences">
            {value.differences.map((difference) => (
              <DifferenceItem
                key={String(difference.after?.position ?? difference.before?.position)}
                difference={difference}
                onOpen={() => {
                  onClose();
                  model.show({ key: { stream: difference.stream, key: difference.key } });
                }}
              />
            ))}
          </ul>
        </>
      )}
    </Dialog>
  );
}

function DifferenceItem({ difference, onOpen }: { readonly difference: Difference; readonly onOpen: () => void }) {
  const { key, change, before, after } = difference;
  return (
    <li>
      <button type="button" class="change" onClick={onOpen}>
        <span class="change-key">
          <KeyText bytes={key} />
        </span>
        <span class="change-when">{changeTexts[change] ?? change}</span>
        <span class="change-value">
          {before !== undefined && !before.deleted && (
            <>
              <span class="removed">
                <ValuePreview value={before.value} deleted={false} />
              </span>
              {" → "}
            </>
          )}
          <span class="added">
            <ValuePreview value={after?.value ?? new Uint8Array()} deleted={after?.deleted ?? true} />
          </span>
        </span>
      </button>
    </li>
  );
}
