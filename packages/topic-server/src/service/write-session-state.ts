import { StatusCode, type topicWire, type WriteColumns } from "@tidemark/topic/internal";

export type InitRequest = topicWire.StreamWriteMessage_InitRequest;

/**
 * - `init`: nothing was said yet.
 * - `opening`: the partition is being found; whatever comes meanwhile waits outside.
 * - `open`: requests are taken.
 * - `closed`: the last word was said.
 */
export type WriteState = "init" | "opening" | "open" | "closed";

export type WriteEvent =
  | { readonly type: "init"; readonly request: InitRequest }
  | { readonly type: "opened" }
  | { readonly type: "write"; readonly columns: WriteColumns; readonly codecs: readonly number[] }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "unset" }
  | { readonly type: "invalid"; readonly detail: string }
  | { readonly type: "refused"; readonly status: StatusCode; readonly detail: string; readonly issueCode: number }
  | { readonly type: "clientEnded" };

type WriteEffect =
  | { readonly type: "open"; readonly request: InitRequest }
  | { readonly type: "append"; readonly columns: WriteColumns }
  | { readonly type: "checkToken"; readonly token: string }
  /** Tell the client, then end the stream; gRPC's own status stays OK. */
  | { readonly type: "fail"; readonly status: StatusCode; readonly detail: string; readonly issueCode: number }
  /** End the stream once everything taken is acknowledged. */
  | { readonly type: "finish" };

export type WriteStep = readonly [WriteState, WriteEffect?];

const maxProducerBytes = 2048;
const maxMetadataBytes = 4096;
const maxMetadataItems = 1000;
const gone: WriteStep = ["closed"];

function fail(status: StatusCode, detail: string, issueCode = 0): WriteStep {
  return ["closed", { type: "fail", status, detail, issueCode }];
}

const bad = (detail: string): WriteStep => fail(StatusCode.BAD_REQUEST, detail);

/** The rules of StreamWrite: what may follow what, and what a request must look like. */
export function writeSessionNext(state: WriteState, event: WriteEvent): WriteStep {
  if (state === "closed") return gone;
  switch (event.type) {
    case "init": {
      if (state !== "init") return bad("got a second init_request: a stream has one");
      const wrong = checkInit(event.request);
      return wrong === undefined ? ["opening", { type: "open", request: event.request }] : bad(wrong);
    }
    case "opened":
      return ["open"];
    case "write": {
      if (state !== "open") return bad("got a write_request before init_response");
      const wrong = checkWrite(event.columns, event.codecs);
      return wrong === undefined ? ["open", { type: "append", columns: event.columns }] : bad(wrong);
    }
    case "token":
      if (state === "init") return bad("got an update_token_request before init_request");
      return [state, { type: "checkToken", token: event.token }];
    case "unset":
      return bad("got a client message with nothing in it");
    case "invalid":
      return bad(event.detail);
    case "refused":
      return fail(event.status, event.detail, event.issueCode);
    case "clientEnded":
      return ["closed", { type: "finish" }];
  }
}

function checkInit(request: InitRequest): string | undefined {
  const { path, producerId, partitioning } = request;
  if (path === "") return "path must not be empty";
  if (Buffer.byteLength(producerId) > maxProducerBytes)
    return `producer_id must have at most ${maxProducerBytes} bytes`;
  if (partitioning.case === "messageGroupId" && producerId !== "" && partitioning.value !== producerId) {
    return "message_group_id must be the same as producer_id";
  }
  if (partitioning.case === "partitionId" && partitioning.value < 0n) return "partition_id must not be negative";
  return undefined;
}

function checkWrite(columns: WriteColumns, codecs: readonly number[]): string | undefined {
  const { length, codec } = columns;
  if (length === 0) return "messages must not be empty";
  if (codec === 0) return "codec must be set";
  if (codecs.length > 0 && !codecs.includes(codec)) {
    return `codec ${codec} is not one of the topic's: ${codecs.join(", ")}`;
  }
  let last: number | bigint = 0;
  for (let index = 0; index < length; index++) {
    const seqNo = columns.seqNo(index);
    if (seqNo <= last) {
      return last === 0
        ? `seq_no must be above 0, got ${seqNo}`
        : `seq_nos must increase within a request, got ${seqNo} after ${last}`;
    }
    last = seqNo;
    if (columns.metadataItems(index) > 0) {
      const bytes = columns.metadataBytes(index);
      if (bytes > maxMetadataBytes) return `metadata must have at most ${maxMetadataBytes} bytes, got ${bytes}`;
      const items = columns.metadataItems(index);
      if (items > maxMetadataItems) return `metadata must have at most ${maxMetadataItems} items, got ${items}`;
    }
    if (columns.hasPartitioning(index)) return "a message cannot choose its partition: the stream does";
  }
  return undefined;
}
