import { Code, ConnectError } from "@connectrpc/connect";
import { StreamError } from "@tidemark/stream";
import type { Endpoint } from "./endpoint.ts";
import { GnmiError, type GnmiErrorCode } from "./gnmi-error.ts";

type Explanation = readonly [code: GnmiErrorCode, detail: string];

/** What an error means to a person, given where it happened. Where it repeats one of `secrets`, that is left out. */
export function toGnmiError(error: unknown, endpoint: Endpoint, secrets: readonly string[] = []): GnmiError {
  if (GnmiError.is(error)) return error;
  let isMasked = false;
  const mask = (text: string): string => {
    const shown = secrets.reduce((rest, secret) => rest.replaceAll(secret, "***"), text);
    isMasked ||= shown !== text;
    return shown;
  };
  const [code, detail] = explain(error, endpoint, mask);
  const shown = mask(detail);
  // The cause has the device's own words, which may be ours.
  return new GnmiError(code, shown, isMasked ? {} : { cause: error });
}

/** What a device says in a message of its own; gNMI has that no more, and some devices still do. */
export function refusalOf(
  { code, message }: { readonly code: number; readonly message: string },
  name: string,
): GnmiError {
  return new GnmiError("REFUSED", `${name} sent the error ${code}: ${message}`);
}

/** Whether a device has answered a question with no: it does not know the call, or not for us. */
export function isAnswer(error: unknown): boolean {
  return GnmiError.is(error) && (error.code === "REFUSED" || error.code === "PERMISSION_DENIED");
}

function explain(error: unknown, endpoint: Endpoint, mask: (text: string) => string): Explanation {
  const { name } = endpoint;
  if (StreamError.is(error)) {
    const stream = explainStream(error, name);
    if (stream !== undefined) return stream;
  }
  const chain = causes(error);
  for (const cause of chain) {
    const found = explainSocket(codeOf(cause), endpoint) ?? explainTls(codeOf(cause), cause.message, name);
    if (found !== undefined) return found;
  }
  const status = chain.find((cause): cause is ConnectError => cause instanceof ConnectError);
  if (status !== undefined) return explainStatus(status.code, mask(status.rawMessage), endpoint);
  return ["UNREACHABLE", `${name}: ${error instanceof Error ? error.message : String(error)}`];
}

function explainStream(error: StreamError, name: string): Explanation | undefined {
  switch (error.code) {
    case "HANDSHAKE_TIMEOUT":
      return ["SILENT", `${name} takes the connection and does not answer: is its gNMI service overloaded?`];
    case "PING_TIMEOUT":
    case "SILENT":
      return ["SILENT", `${name} has stopped answering: is the device down, or the network gone?`];
    case "CONNECTION_LOST":
    case "PROTOCOL":
      return error.cause === undefined
        ? ["UNREACHABLE", `${name} ended the subscription without a reason: is it restarting?`]
        : undefined;
    default:
      return undefined;
  }
}

/** The error and what caused it, outermost first. */
function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  let next = error;
  while (next instanceof Error && !chain.includes(next)) {
    chain.push(next);
    next = next instanceof AggregateError ? next.errors[0] : next.cause;
  }
  return chain;
}

const codeOf = (error: Error): string => ("code" in error && typeof error.code === "string" ? error.code : "");

function explainSocket(code: string, { name, isTls }: Endpoint): Explanation | undefined {
  switch (code) {
    case "ECONNREFUSED":
      return ["UNREACHABLE", `nothing listens at ${name}: is gNMI switched on there, and the port right?`];
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return ["UNREACHABLE", `there is no host of the name in ${name} (${code}): is it right, and does DNS work?`];
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return ["UNREACHABLE", `${name} cannot be reached (${code}): is the network up, and the address right?`];
    case "ECONNRESET":
    case "EPIPE":
    case "ERR_HTTP2_STREAM_CANCEL":
    case "ERR_HTTP2_SESSION_ERROR":
    case "ERR_HTTP2_GOAWAY_SESSION":
      return [
        "UNREACHABLE",
        `${name} cut the connection: is it restarting, or ${isTls ? "does it speak no TLS (write http://)" : "does it want https://"}?`,
      ];
    case "ERR_HTTP2_ERROR":
      return [
        "NOT_GNMI",
        `${name} does not speak HTTP/2: is this the port of gNMI${isTls ? "" : ", and does it want https://"}?`,
      ];
    default:
      return undefined;
  }
}

function explainTls(code: string, message: string, name: string): Explanation | undefined {
  const tls = (detail: string): Explanation => ["TLS_FAILED", `${name}: ${detail}`];
  switch (code) {
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return tls(`nobody we trust signed the device's certificate (${code}): give the authority that did as tls.ca`);
    case "CERT_HAS_EXPIRED":
      return tls("the device's certificate has expired: renew it");
    case "CERT_NOT_YET_VALID":
      return tls("the device's certificate is not valid yet: is a clock wrong?");
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return tls("the device's certificate is for another name: use that name, or give it as tls.serverName");
    case "EPROTO":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return /wrong version number|packet length/i.test(`${code} ${message}`.replaceAll("_", " "))
        ? tls("it does not speak TLS: write http://, or ask for its TLS port")
        : tls(`the TLS handshake failed (${message})`);
    default:
      break;
  }
  if (/ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA)|HANDSHAKE_FAILURE/.test(code)) {
    return tls(`it wants a certificate of ours that its authority signed (${code}): give tls.cert and tls.key`);
  }
  return /^ERR_(SSL|TLS|OSSL|CRYPTO)_/.test(code) ? tls(`TLS failed (${message})`) : undefined;
}

function explainStatus(code: Code, said: string, { name, isTls }: Endpoint): Explanation {
  const text = said.length > 500 ? `${said.slice(0, 500)}…` : said;
  switch (code) {
    case Code.Unauthenticated:
      return ["UNAUTHENTICATED", `${name} does not accept who we are (${text}): are user, password or token right?`];
    case Code.PermissionDenied:
      return ["PERMISSION_DENIED", `${name}: the user may not do that (${text})`];
    case Code.ResourceExhausted:
      if (text.includes("larger than")) return ["TOO_LARGE", `${name} sent more at once than is taken (${text})`];
      return ["UNAVAILABLE", `${name} cannot serve now (${text})`];
    case Code.InvalidArgument:
    case Code.NotFound:
    case Code.FailedPrecondition:
    case Code.OutOfRange:
    case Code.AlreadyExists:
      return ["REFUSED", `${name} refused the request: ${text}`];
    case Code.Unimplemented:
      return ["REFUSED", `${name} does not support the request: ${text}`];
    case Code.Unknown:
    case Code.Internal:
      if (/HTTP (4|5)\d\d|missing (trailer|content-type)|unsupported content type/i.test(text)) {
        return [
          "NOT_GNMI",
          `${name} does not speak gRPC (${text}): is this the port of gNMI${isTls ? "" : ", and does it want https://"}?`,
        ];
      }
      return ["UNAVAILABLE", `${name} failed: ${text}`];
    case Code.DataLoss:
      return ["UNAVAILABLE", `${name} lost changes and ended the subscription (${text}): it is read anew`];
    case Code.Canceled:
    case Code.Aborted:
    case Code.DeadlineExceeded:
    case Code.Unavailable:
      return ["UNAVAILABLE", `${name} ended the call (${text}): is it restarting?`];
    default:
      return ["UNREACHABLE", `${name}: ${text}`];
  }
}
