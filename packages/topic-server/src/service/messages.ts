import { create, type DescMessage, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { anyPack, durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Operation, OperationSchema, StatusCode, topicWire } from "@tidemark/topic/internal";
import { type Refusal, refusalOf } from "./refusal.ts";

const { StreamReadMessage_FromServerSchema: ReadSchema, StreamWriteMessage_FromServerSchema: WriteSchema } = topicWire;

type ReadAnswer = NonNullable<MessageInitShape<typeof ReadSchema>["serverMessage"]>;
type WriteAnswer = NonNullable<MessageInitShape<typeof WriteSchema>["serverMessage"]>;

/** The sentence and the severity that clients expect with a status. */
export const issue = (message: string, issueCode = 0) => ({ message, severity: 1, issueCode });

export function readAnswer(serverMessage: ReadAnswer): Uint8Array {
  return toBinary(ReadSchema, create(ReadSchema, { status: StatusCode.SUCCESS, serverMessage }));
}

export function readFailure(status: StatusCode, detail: string): Uint8Array {
  return toBinary(ReadSchema, create(ReadSchema, { status, issues: [issue(detail)] }));
}

export function writeAnswer(serverMessage: WriteAnswer): Uint8Array {
  return toBinary(WriteSchema, create(WriteSchema, { status: StatusCode.SUCCESS, serverMessage }));
}

export function writeFailure(status: StatusCode, detail: string, issueCode: number): Uint8Array {
  return toBinary(WriteSchema, create(WriteSchema, { status, issues: [issue(detail, issueCode)] }));
}

/** The result of a unary call, in the envelope that YDB puts it in. */
export function succeeded<D extends DescMessage>(schema: D, result: MessageInitShape<D>): Operation {
  const message = create(schema, result) as MessageShape<D>;
  return create(OperationSchema, { ready: true, status: StatusCode.SUCCESS, result: anyPack(schema, message) });
}

function refused(refusal: Refusal): Operation {
  return create(OperationSchema, {
    ready: true,
    status: refusal.status,
    issues: [issue(refusal.message, refusal.issueCode)],
  });
}

/** Runs a unary call; whatever it throws becomes the operation's status, but for what is one of gRPC. */
export async function operation(work: () => Promise<Operation> | Operation): Promise<{ operation: Operation }> {
  try {
    return { operation: await work() };
  } catch (error) {
    if (error instanceof ConnectError) throw error;
    return { operation: refused(refusalOf(error)) };
  }
}

export const timestamp = (ms: number) => timestampFromMs(Math.max(0, Math.floor(ms)));
export const duration = (ms: number) => durationFromMs(Math.max(0, Math.floor(ms)));
