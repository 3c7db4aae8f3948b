import { StatusCode, type topicWire } from "@tidemark/topic/internal";

type FromClient = topicWire.StreamReadMessage_FromClient["clientMessage"];
export type ReadInitRequest = topicWire.StreamReadMessage_InitRequest;

export interface ReadState {
  readonly phase: "init" | "open" | "closed";
  /** Bytes that the client has room for. Below 0 after a message that was larger than the room. */
  readonly credit: number;
}

export type ReadEvent =
  | { readonly type: "message"; readonly message: FromClient }
  | { readonly type: "sent"; readonly bytes: number }
  | { readonly type: "invalid"; readonly detail: string }
  | { readonly type: "refused"; readonly status: StatusCode; readonly detail: string }
  | { readonly type: "clientEnded" };

type ReadEffect =
  | { readonly type: "open"; readonly request: ReadInitRequest }
  /** For a partition, or nothing that changes the session. */
  | { readonly type: "dispatch"; readonly message: FromClient }
  | { readonly type: "pump" }
  | { readonly type: "fail"; readonly status: StatusCode; readonly detail: string }
  | { readonly type: "finish" };

export type ReadStep = readonly [ReadState, ReadEffect?];

export const initialReadState: ReadState = { phase: "init", credit: 0 };
const closed: ReadState = { phase: "closed", credit: 0 };

function fail(status: StatusCode, detail: string): ReadStep {
  return [closed, { type: "fail", status, detail }];
}

const bad = (detail: string): ReadStep => fail(StatusCode.BAD_REQUEST, detail);

/** The rules of StreamRead as a whole; those of each partition are in `partition-session-state.ts`. */
export function readSessionNext(state: ReadState, event: ReadEvent): ReadStep {
  if (state.phase === "closed") return [state];
  switch (event.type) {
    case "message":
      return take(state, event.message);
    case "sent":
      return [{ ...state, credit: state.credit - event.bytes }];
    case "invalid":
      return bad(event.detail);
    case "refused":
      return fail(event.status, event.detail);
    case "clientEnded":
      return [closed, { type: "finish" }];
  }
}

function take(state: ReadState, message: FromClient): ReadStep {
  if (message.case === undefined) return bad("got a client message with nothing in it");
  if (message.case === "initRequest") {
    if (state.phase !== "init") return bad("got a second init_request: a stream has one");
    const wrong = checkInit(message.value);
    return wrong === undefined
      ? [
          { phase: "open", credit: 0 },
          { type: "open", request: message.value },
        ]
      : bad(wrong);
  }
  if (state.phase === "init") return bad("the first message must be an init_request");
  if (message.case === "readRequest") {
    const bytes = Number(message.value.bytesSize);
    if (bytes <= 0) return bad(`bytes_size must be above 0, got ${bytes}`);
    return [{ ...state, credit: state.credit + bytes }, { type: "pump" }];
  }
  if (message.case === "directReadAck") return bad("direct reading is not offered");
  return [state, { type: "dispatch", message }];
}

function checkInit(request: ReadInitRequest): string | undefined {
  const { topicsReadSettings: topics, consumer } = request;
  if (topics.length === 0) return "topics_read_settings must not be empty";
  if (topics.some(({ path }) => path === "")) return "the path of a topic must not be empty";
  if (request.directRead) return "direct reading is not offered";
  if (consumer === "" && topics.some(({ partitionIds }) => partitionIds.length === 0)) {
    return "a read without a consumer must name its partitions";
  }
  if (request.partitionMaxInFlightBytes < 0n) return "partition_max_in_flight_bytes must not be negative";
  return undefined;
}
