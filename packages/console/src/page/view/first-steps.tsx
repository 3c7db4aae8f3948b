import type { StatusResponse, StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { CopyButton } from "./copy-button.tsx";
import { SafeText } from "./text.tsx";

export interface FirstStepsProps {
  readonly stream: StreamStatus | undefined;
  readonly status: StatusResponse | undefined;
}

/** What to do with an empty replica. */
export function FirstSteps({ stream, status }: FirstStepsProps) {
  if (status === undefined) return null;
  if (stream !== undefined && stream.state !== "live") {
    return (
      <div class="empty">
        <p>
          Nothing is here yet: <SafeText text={stream.name} /> is not live.
        </p>
        {stream.problem !== "" && (
          <p class="problem">
            <SafeText text={stream.problem} />
          </p>
        )}
      </div>
    );
  }
  const isEtcd = stream?.kind === "etcd";
  const put = isEtcd ? "etcdctl put greeting hello" : "tidemark put greeting hello";
  const change = isEtcd ? "etcdctl put greeting 'hello, world'" : "tidemark put greeting 'hello, world'";
  return (
    <div class="empty first-steps">
      <h2>Nothing here yet</h2>
      <p>
        {stream === undefined ? "No stream is followed yet." : "Everything is connected and waits for a first key."} Try
        this in a terminal, and watch this page:
      </p>
      <ol>
        <Step command={put} text="puts a key; it appears here at once" />
        <Step command={change} text="gives it a second version; open the key to see what changed" />
        <Step command="tidemark log greeting" text="lists its versions in the terminal" />
        <Step command="tidemark watch" text="follows everything" />
      </ol>
    </div>
  );
}

function Step({ command, text }: { readonly command: string; readonly text: string }) {
  return (
    <li>
      <span class="command">
        <code>{command}</code>
        <CopyButton text={command} label={`Copy: ${command}`} />
      </span>
      <span class="faint">{text}</span>
    </li>
  );
}
