import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { StreamProtocol, StreamTransport } from "@tidemark/stream";
import type { AdminService, StatusResponse, Version } from "../gen/tidemark/admin/v1/admin_pb.ts";

export type AdminClient = Client<typeof AdminService>;

/** What the daemon pushes. */
export type LinkMessage =
  | { readonly type: "status"; readonly status: StatusResponse }
  /** Changes in log order; everything up to `position` was told. */
  | { readonly type: "changes"; readonly changes: readonly Version[]; readonly position: bigint };

export interface LinkHandlers {
  readonly client: AdminClient;
  /** From where on changes are wanted, given the first status of a connection. */
  readonly resumeFrom: (status: StatusResponse) => bigint;
  /** The daemon no longer has the changes after that position: start at the present one. */
  readonly onTooOld: () => void;
  /** A returned promise holds back reading. */
  readonly onMessage: (message: LinkMessage) => void | Promise<void>;
}

/**
 * The page's one connection to the daemon: status and changes, pushed by two server streams that live and die together.
 * It is open when the first status is here, and asks for a sign of life when it hears nothing: the page must know within
 * seconds that it shows old things.
 */
export function linkProtocol(handlers: LinkHandlers): StreamProtocol<never, LinkMessage, StatusResponse> {
  return {
    name: "tidemark.console",
    openTransport: () => openTransport(handlers),
    async handshake(stream) {
      const first = await stream.receive();
      if (first.type !== "status") throw new ConnectError("Expected the status first, got changes.", Code.Internal);
      return first.status;
    },
    onMessage: (message) => handlers.onMessage(message),
    // A person waits for it, so whatever it was is tried again.
    classify: (error) => {
      const { code } = ConnectError.from(error);
      const isPermanent = [Code.Unimplemented, Code.Unauthenticated, Code.PermissionDenied].includes(code);
      return isPermanent ? "slow" : "fast";
    },
    isProgress: (message) => message.type === "changes",
  };
}

function openTransport({ client, resumeFrom, onTooOld }: LinkHandlers): StreamTransport<never, LinkMessage> {
  const controller = new AbortController();
  const { signal } = controller;

  async function* changesAfter(position: bigint): AsyncGenerator<LinkMessage> {
    try {
      for await (const { versions, position: upTo } of client.watch({ after: position }, { signal })) {
        yield { type: "changes", changes: versions, position: upTo };
      }
    } catch (error) {
      if (ConnectError.from(error).code === Code.OutOfRange) onTooOld();
      throw error;
    }
  }

  async function* messages(): AsyncGenerator<LinkMessage> {
    const statuses = client.watchStatus({}, { signal })[Symbol.asyncIterator]();
    const first = await statuses.next();
    if (first.done) return;
    yield { type: "status", status: first.value };
    const changes = changesAfter(resumeFrom(first.value));
    const nextStatus = async () => {
      const { done, value } = await statuses.next();
      return done ? undefined : ({ type: "status", status: value } as const);
    };
    const nextChange = async () => (await changes.next()).value as LinkMessage | undefined;
    let status = nextStatus();
    let change = nextChange();
    try {
      for (;;) {
        // Whichever is left over is taken up in the next round. One stream's end is the end of both.
        const message = await Promise.race([status, change]);
        if (message === undefined) return;
        yield message;
        if (message.type === "status") status = nextStatus();
        else change = nextChange();
      }
    } finally {
      status.catch(() => {});
      change.catch(() => {});
    }
  }

  return {
    start: messages,
    cancel: (reason) => controller.abort(reason),
    ping: async (pingSignal) => {
      await client.status({}, { signal: pingSignal });
    },
  };
}
