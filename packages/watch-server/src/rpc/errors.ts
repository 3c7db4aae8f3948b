import { Code, ConnectError } from "@connectrpc/connect";
import { MarkerTooOldSchema, StoreReplacedSchema } from "../gen/tidemark/watch/v1/watch_pb.ts";
import { StoreError, type StoreErrorCode } from "../store-error.ts";

const codes: Record<StoreErrorCode, Code> = {
  ARGUMENT_INVALID: Code.InvalidArgument,
  CLOSED: Code.Unavailable,
  FILE_UNUSABLE: Code.Internal,
  LISTEN_FAILED: Code.Internal,
  OPTIONS_INVALID: Code.Internal,
  OVERLOADED: Code.Unavailable,
  REMOTE: Code.Internal,
  SCHEMA_NEWER: Code.Internal,
  STORE_FAILED: Code.Internal,
  STORE_LOCKED: Code.Internal,
  STORE_REPLACED: Code.FailedPrecondition,
  TOO_LARGE: Code.ResourceExhausted,
  TOO_OLD: Code.OutOfRange,
  UNAVAILABLE: Code.Unavailable,
};

/** A store's error as the wire has it, with the detail that its code promises. Anything else goes through unchanged. */
export function toConnectError(error: unknown): unknown {
  if (!StoreError.is(error)) return error;
  const { code, message, oldestMarker = "", storeId = "", incarnation = "" } = error;
  const details = {
    TOO_OLD: [{ desc: MarkerTooOldSchema, value: { oldestMarker, incarnation } }],
    STORE_REPLACED: [{ desc: StoreReplacedSchema, value: { storeId } }],
  };
  return new ConnectError(
    message.replace(`[${code}] `, ""),
    codes[code],
    undefined,
    code === "TOO_OLD" || code === "STORE_REPLACED" ? details[code] : undefined,
    error,
  );
}

const remoteCodes: Partial<Record<Code, StoreErrorCode>> = {
  [Code.InvalidArgument]: "ARGUMENT_INVALID",
  [Code.OutOfRange]: "TOO_OLD",
  [Code.FailedPrecondition]: "STORE_REPLACED",
  [Code.ResourceExhausted]: "TOO_LARGE",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DeadlineExceeded]: "UNAVAILABLE",
  // How a connection looks that broke in the middle of a call.
  [Code.Aborted]: "UNAVAILABLE",
  [Code.Canceled]: "UNAVAILABLE",
};

/** The way back: what a call to `address` threw, as this package throws it. */
export function fromConnectError(thrown: unknown, address: string): StoreError {
  const error = ConnectError.from(thrown);
  const code = remoteCodes[error.code] ?? "REMOTE";
  if (code === "UNAVAILABLE") {
    const isRefused = (error.cause as NodeJS.ErrnoException | undefined)?.code === "ECONNREFUSED";
    const hint = isRefused ? "nothing listens there. Is the store running?" : error.rawMessage;
    return new StoreError(code, `no answer from the store at ${address}: ${hint}`, { cause: error, retryable: true });
  }
  const [tooOld] = error.findDetails(MarkerTooOldSchema);
  const [replaced] = error.findDetails(StoreReplacedSchema);
  const isOther = code === "REMOTE" || (code === "TOO_OLD" && !tooOld) || (code === "STORE_REPLACED" && !replaced);
  if (isOther) {
    return new StoreError("REMOTE", `the store at ${address} failed with ${Code[error.code]}: ${error.rawMessage}`, {
      cause: error,
    });
  }
  return new StoreError(code, error.rawMessage, {
    cause: error,
    oldestMarker: tooOld?.oldestMarker,
    storeId: replaced?.storeId,
    incarnation: tooOld?.incarnation,
  });
}
