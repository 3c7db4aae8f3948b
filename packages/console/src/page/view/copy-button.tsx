import { useState } from "preact/hooks";
import { Icon } from "./icons.tsx";

/** Copies a text. Not there where the browser does not let a page copy: without TLS and not on this machine. */
export function CopyButton({ text, label }: { readonly text: string; readonly label: string }) {
  const [copied, setCopied] = useState<string | undefined>(undefined);
  if (!("clipboard" in navigator)) return null;
  const isDone = copied === text;
  return (
    <button
      type="button"
      class="icon"
      aria-label={isDone ? "Copied" : label}
      title={isDone ? "Copied" : "Copy"}
      onClick={() => {
        navigator.clipboard.writeText(text).then(
          () => setCopied(text),
          () => setCopied(undefined),
        );
      }}
    >
      <Icon name={isDone ? "done" : "copy"} />
    </button>
  );
}
