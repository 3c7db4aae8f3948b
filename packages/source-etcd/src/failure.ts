import { Code, ConnectError } from "@connectrpc/connect";
import { isConnectionError } from "@tidemark/connect-transport";
import { StreamError } from "@tidemark/stream";
import type { Endpoint } from "./endpoint.ts";
import { EtcdError, type EtcdErrorCode } from "./etcd-error.ts";

/** Whom we speak to. */
export interface Peer {
  readonly endpoint: Endpoint;
  /** Whether it has ever answered on this connection. */
  readonly hasAnswered: boolean;
}

/** What an error means to a person, given where it happened. */
export function toEtcdError(error: unknown, peer: Peer): EtcdError {
  if (EtcdError.is(error)) return error;
  // What we threw while reading comes back through the call.
  const own = error instanceof ConnectError ? error.cause : undefined;
  if (EtcdError.is(own)) return own;
  const [code, detail] = explain(error, peer);
  return new EtcdError(code, detail, { cause: error });
}

/** Why etcd canceled a watch, from the text it gave. In 3.4 it is the text of a gRPC status, code and all. */
export function refusalOf(cancelReason: string, peer: Peer): EtcdError {
  const [, name = "", text = cancelReason] = /code = (\w+) desc = (.*)/.exec(cancelReason) ?? [];
  const codes: Readonly<Record<string, Code>> = {
    PermissionDenied: Code.PermissionDenied,
    Unauthenticated: Code.Unauthenticated,
    InvalidArgument: Code.InvalidArgument,
    Unavailable: Code.Unavailable,
  };
  const guess = text.includes("permission denied") ? Code.PermissionDenied : Code.Unavailable;
  return toEtcdError(new ConnectError(text === "" ? "it canceled the watch" : text, codes[name] ?? guess), peer);
}

type Explanation = readonly [code: EtcdErrorCode, detail: string];

function explain(error: unknown, peer: Peer): Explanation {
  const { endpoint } = peer;
  if (StreamError.is(error)) {
    const stream = explainStream(error, endpoint);
    if (stream !== undefined) return stream;
  }
  const chain = causes(error);
  for (const cause of chain) {
    const explained = explainSocket(cause, peer) ?? explainTls(cause, endpoint);
    if (explained !== undefined) return explained;
  }
  if (chain.some(isConnectionError)) return explainCut(peer);
  const status = chain.find((cause): cause is ConnectError => cause instanceof ConnectError);
  if (status !== undefined) return explainStatus(status, peer);
  return ["UNREACHABLE", `${endpoint.name}: ${textOf(error)}`];
}

function explainStream(error: StreamError, { name }: Endpoint): Explanation | undefined {
  switch (error.code) {
    case "HANDSHAKE_TIMEOUT":
      return [
        "SILENT",
        `${name} does not answer: is etcd frozen or overloaded, or does a firewall drop what it sends?`,
      ];
    case "PING_TIMEOUT":
    case "SILENT":
      return ["SILENT", `${name} has stopped answering: is etcd frozen, or the network gone?`];
    case "CONNECTION_LOST":
    case "PROTOCOL":
      return error.cause === undefined
        ? ["UNREACHABLE", `${name} ended the stream: is etcd shutting down?`]
        : undefined;
    default:
      return undefined;
  }
}

/** The error and what caused it, outermost first. Some Node versions collect one error per address instead. */
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
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function explainCut({ endpoint: { name, isTls }, hasAnswered }: Peer): Explanation {
  if (hasAnswered) return ["UNREACHABLE", `${name} cut the connection: is etcd restarting?`];
  const doubt = isTls ? "does it speak TLS at all (otherwise write http://)" : "does it want https://";
  return ["UNREACHABLE", `${name} cut the connection before it said anything: ${doubt}, or is etcd starting?`];
}

function explainSocket(error: Error, peer: Peer): Explanation | undefined {
  const { name, isTls } = peer.endpoint;
  switch (codeOf(error)) {
    case "ECONNREFUSED":
      return ["UNREACHABLE", `connect ECONNREFUSED ${name}: is etcd running there?`];
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return [
        "UNREACHABLE",
        `${name}: there is no such host (${codeOf(error)}): is the name right, and does DNS work?`,
      ];
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return ["UNREACHABLE", `${name} cannot be reached (${codeOf(error)}): is the network up, and the address right?`];
    case "ECONNRESET":
    case "EPIPE":
    case "ERR_HTTP2_STREAM_CANCEL":
    case "ERR_HTTP2_SESSION_ERROR":
    case "ERR_HTTP2_GOAWAY_SESSION":
      return explainCut(peer);
    case "ERR_HTTP2_ERROR":
      return [
        "NOT_ETCD",
        `${name} does not speak HTTP/2: is this the client port of an etcd${isTls ? "" : ", and does it want https://"}?`,
      ];
    default:
      return undefined;
  }
}

function explainTls(error: Error, { name }: Endpoint): Explanation | undefined {
  const code = codeOf(error);
  const tls = (detail: string): Explanation => ["TLS_FAILED", `${name}: ${detail}`];
  switch (code) {
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return tls(`nobody we trust signed the server's certificate (${code}): give the authority that did as tls.ca`);
    case "CERT_HAS_EXPIRED":
      return tls("the server's certificate has expired: renew it");
    case "CERT_NOT_YET_VALID":
      return tls("the server's certificate is not valid yet: is a clock wrong?");
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return tls(
        `the server's certificate is for another name (${error.message}): use that name, or give it as tls.serverName`,
      );
    case "EPROTO":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      if (/wrong version number|packet length/i.test(`${code} ${error.message}`.replaceAll("_", " "))) {
        return tls("it does not speak TLS: write http:// and leave tls out, or ask for its TLS port");
      }
      return tls(`the TLS handshake failed (${error.message})`);
    default:
      break;
  }
  if (/ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA)|HANDSHAKE_FAILURE/.test(code)) {
    return tls(`it wants a certificate of ours that its authority signed (${code}): give it as tls.cert and tls.key`);
  }
  return /^ERR_(SSL|TLS|OSSL|CRYPTO)_/.test(code) ? tls(`TLS failed (${error.message})`) : undefined;
}

/** etcd tells many of its errors apart by text alone; these texts are part of its API (rpctypes/error.go). */
function explainStatus(error: ConnectError, peer: Peer): Explanation {
  const { name, isTls } = peer.endpoint;
  const text = error.rawMessage.replace(/^etcdserver: /, "");
  switch (error.code) {
    case Code.Unauthenticated:
      return [
        "UNAUTHENTICATED",
        `${name} does not accept the token of our user (${text}): are user and password still right?`,
      ];
    case Code.PermissionDenied:
      return [
        "PERMISSION_DENIED",
        `${name}: the user may not read these keys: grant its role read permission for the whole range (etcdctl role grant-permission ROLE read KEY --prefix)`,
      ];
    case Code.OutOfRange:
      return ["COMPACTED", `${name}: ${text}`];
    case Code.Unimplemented:
    case Code.NotFound:
      return [
        "NOT_ETCD",
        `${name} speaks HTTP/2, but not etcd's v3 API (${text}): is this the client port of an etcd?`,
      ];
    case Code.ResourceExhausted:
      if (text.includes("larger than")) return ["TOO_LARGE", `${name} sent more at once than is taken (${text}).`];
      return ["UNAVAILABLE", `${name} cannot serve now: ${text}`];
    case Code.InvalidArgument:
      if (text.includes("authentication failed")) {
        return ["UNAUTHENTICATED", `${name} does not accept user and password: are they right?`];
      }
      if (text.includes("user name is empty")) {
        return ["UNAUTHENTICATED", `${name} wants a user and a password: give them as credentials`];
      }
      if (text.includes("revision of auth store is old")) return ["UNAVAILABLE", `${name}: ${text}`];
      return ["REFUSED", `${name} refused the request: ${text}`];
    case Code.FailedPrecondition:
    case Code.AlreadyExists:
      return ["REFUSED", `${name} refused the request: ${text}`];
    case Code.Unavailable:
    case Code.DeadlineExceeded:
      return ["UNAVAILABLE", `${name} cannot serve now: ${text}`];
    case Code.Canceled:
    case Code.Aborted:
      return explainCut(peer);
    case Code.Unknown:
    case Code.Internal:
      // What a web server or an etcd with TLS on this port answers.
      if (/HTTP (4|5)\d\d|missing (trailer|content-type)|unsupported content type/i.test(text)) {
        return [
          "NOT_ETCD",
          `${name} does not speak gRPC (${text}): is this the client port of an etcd${isTls ? "" : ", and does it want https://"}?`,
        ];
      }
      return ["UNREACHABLE", `${name}: ${text}`];
    default:
      return ["UNREACHABLE", `${name}: ${text}`];
  }
}
