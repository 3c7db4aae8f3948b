import { Code, ConnectError } from "@connectrpc/connect";
import { constants } from "node:http2";

/** gRPC over HTTP/2, Errors. Undefined: the code says nothing. */
export function errorOfReset(code: number | undefined): ConnectError | undefined {
  switch (code) {
    case undefined:
    case constants.NGHTTP2_NO_ERROR:
      return undefined;
    case constants.NGHTTP2_CANCEL:
      return reset("CANCEL", Code.Canceled);
    case constants.NGHTTP2_REFUSED_STREAM:
      return reset("REFUSED_STREAM", Code.Unavailable);
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return reset("ENHANCE_YOUR_CALM", Code.ResourceExhausted);
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return reset("INADEQUATE_SECURITY", Code.PermissionDenied);
    case constants.NGHTTP2_HTTP_1_1_REQUIRED:
      return reset("HTTP_1_1_REQUIRED", Code.PermissionDenied);
    default:
      return reset(`code ${code}`, Code.Internal);
  }
}

function reset(name: string, code: Code): ConnectError {
  return new ConnectError(`the peer reset the HTTP/2 stream with ${name}`, code);
}

const ofConnection = Symbol.for("@tidemark/connect-transport/ofConnection");

/** The connection is not there, or no more. The cause has Node's code, such as `ECONNREFUSED`. */
export function connectionError(message: string, cause?: unknown): ConnectError {
  const reason = cause instanceof Error ? `: ${cause.message}` : "";
  const error = new ConnectError(`${message}${reason}`, Code.Unavailable, undefined, undefined, cause);
  return Object.defineProperty(error, ofConnection, { value: true });
}

/** A PING was not answered. `waitingBytes`: what waited to be sent to the peer. */
export function silentPeer(peer: string, withinMs: number, waitingBytes: number): ConnectError {
  const stall =
    waitingBytes === 0
      ? ""
      : `, and ${waitingBytes} bytes wait to be sent to it. If the network is well, both ends wait for each other to read: ` +
        "let one direction have small windows (streamWindowBytes, connectionWindowBytes)";
  return connectionError(`${peer} did not answer a ping within ${withinMs} ms${stall}`);
}

/** Whether `Unavailable` is about the connection, and not what the peer said itself. */
export function isConnectionError(error: unknown): boolean {
  return error instanceof Error && ofConnection in error;
}

/** What a signal or a caller gave as the reason, as calls of connect report it. */
export function canceledError(reason: unknown): ConnectError {
  if (reason === undefined) return new ConnectError("the call was canceled", Code.Canceled);
  return ConnectError.from(reason, Code.Canceled);
}

export const timedOut = (): ConnectError => new ConnectError("the operation timed out", Code.DeadlineExceeded);
