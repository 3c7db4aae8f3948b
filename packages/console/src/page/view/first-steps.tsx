import type { StatusResponse, StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { CopyButton } from "./copy-button.tsx";
import { SafeText } from "./text.tsx";

export interface FirstStepsProps {
  readonly stream: StreamStatus | undefined;
  readonly status: StatusResponse | undefined;
}

/** Where the command line looks for a daemon when it is not told. */
const defaultPort = "4650";

/** What to do with an empty replica. */
export function FirstSteps({ stream, status }: FirstStepsProps) {
  if (status === undefined) return null;
  if (stream === undefined) {
    return (
      <div class="empty">
        <p>No stream is followed yet.</p>
      </div>
    );
  }
  if (stream.state !== "live") {
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
  if (stream.kind === "graph") {
    return (
      <div class="empty">
        <p>What the sites share appears here. There is nothing yet.</p>
      </div>
    );
  }
  const { protocol, hostname, port, origin } = location;
  const isDefault = protocol === "http:" && ["127.0.0.1", "localhost"].includes(hostname) && port === defaultPort;
  const tidemark = (args: string) =>
    `${status.command === "" ? "tidemark" : status.command} ${args}${isDefault ? "" : ` --connect ${origin}`}`;
  return (
    <div class="empty first-steps">
      <h2>Nothing here yet</h2>
      {status.watchUrl === "" ? (
        <>
          <p>
            Everything is connected. A key that is put into <SafeText text={stream.description} /> appears here at once.
            In a terminal:
          </p>
          <ol>
            {stream.kind === "etcd" && <Step command="etcdctl put KEY VALUE" text="puts a key" />}
            <Step command={tidemark("watch")} text="follows everything, as this page does" />
          </ol>
        </>
      ) : (
        <>
          <p>Everything is connected and waits for a first key. Try this in a terminal, and watch this page:</p>
          <ol>
            <Step command={tidemark("put greeting hello")} text="puts a key; it appears here at once" />
            <Step
              command={tidemark("put greeting 'hello, world'")}
              text="gives it a second version; open the key to see what changed"
            />
            <Step command={tidemark("log greeting")} text="lists its versions in the terminal" />
            <Step command={tidemark("watch")} text="follows everything" />
          </ol>
        </>
      )}
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
