import { anyPack } from "@bufbuild/protobuf/wkt";
import { create, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";

type Detail = { readonly type: string; readonly value: Uint8Array };

/** Those of HTTP/2 and of Node begin with a colon. */
export function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const result = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(":")) continue;
    for (const part of Array.isArray(value) ? value : [value]) result.append(name, String(part));
  }
  return result;
}

export function toNodeHeaders(headers: Headers): OutgoingHttpHeaders {
  const result: OutgoingHttpHeaders = {};
  for (const [name, value] of headers) {
    const before = result[name];
    result[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [String(before)]), value];
  }
  return result;
}

/** The error that `grpc-status` and its companions in trailers (or in the headers of an answer without any) stand for. */
export function errorOfStatus(headers: Headers): ConnectError | undefined {
  const status = headers.get("grpc-status");
  if (status === null || status === "0") return undefined;
  const code = /^\d{1,2}$/.test(status) ? Number(status) : Number.NaN;
  if (!(code in Code)) return new ConnectError(`invalid grpc-status: ${status}`, Code.Internal, headers);
  const error = new ConnectError(decodeMessage(headers.get("grpc-message") ?? ""), code, headers);
  const details = headers.get("grpc-status-details-bin");
  if (details !== null) error.details = readDetails(Buffer.from(details, "base64"));
  return error;
}

/** The trailers of a call that ended so. What is no `ConnectError` tells the peer nothing. */
export function statusOf(error: unknown): OutgoingHttpHeaders {
  if (error === undefined) return { "grpc-status": "0" };
  const known = error instanceof ConnectError ? error : new ConnectError("internal error", Code.Internal);
  const result: OutgoingHttpHeaders = {};
  for (const [name, value] of known.metadata) if (isMetadata(name)) result[name] = value;
  result["grpc-status"] = String(known.code);
  if (known.rawMessage !== "") result["grpc-message"] = encodeMessage(known.rawMessage);
  if (known.details.length > 0) {
    result["grpc-status-details-bin"] = Buffer.from(writeStatus(known)).toString("base64").replace(/=+$/, "");
  }
  return result;
}

/** gRPC over HTTP/2, http-grpc-status-mapping.md. */
export function codeOfHttpStatus(status: number): Code {
  switch (status) {
    case 400:
      return Code.Internal;
    case 401:
      return Code.Unauthenticated;
    case 403:
      return Code.PermissionDenied;
    case 404:
      return Code.Unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return Code.Unavailable;
    default:
      return Code.Unknown;
  }
}

/** `application/grpc` or `application/grpc+proto`. */
export function isGrpcProto(contentType: string | null | undefined): boolean {
  return contentType !== null && contentType !== undefined && /^application\/grpc(\+proto)?( *;|$)/i.test(contentType);
}

const protocolHeaders =
  /^(:.*|grpc-.*|content-.*|te|trailer|transfer-encoding|connection|host|date|server|user-agent|accept-.*)$/;

/** What an error may carry on as metadata: nothing that belongs to the protocol or to one hop. */
function isMetadata(name: string): boolean {
  return !protocolHeaders.test(name);
}

/**
 * gRPC over HTTP/2, Status-Message: escapes what is not printable ASCII, and the percent sign. grpc-js, for one, does not
 * undo more than that. Spaces at the ends would not survive in a header.
 */
function encodeMessage(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /%([2-7][0-9A-F])/g,
    (escaped, hex: string, at, whole: string) => {
      const isAtEnd = at === 0 || at + escaped.length === whole.length;
      const isNeeded = hex === "25" || hex === "7F" || (hex === "20" && isAtEnd);
      return isNeeded ? escaped : String.fromCharCode(Number.parseInt(hex, 16));
    },
  );
}

function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not percent-encoded, against the protocol: better shown as it is than not at all.
    return text;
  }
}

// google.rpc.Status: code = 1, message = 2, repeated google.protobuf.Any details = 3.
function writeStatus(error: ConnectError): Uint8Array {
  const writer = new BinaryWriter().uint32(8).int32(error.code).uint32(18).string(error.rawMessage);
  for (const detail of error.details) {
    const any =
      "desc" in detail
        ? anyPack(detail.desc as DescMessage, create(detail.desc as DescMessage, detail.value))
        : create(AnySchema, { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value });
    writer.uint32(26).bytes(toBinary(AnySchema, any));
  }
  return writer.finish();
}

function readDetails(status: Uint8Array): Detail[] {
  const details: Detail[] = [];
  try {
    const reader = new BinaryReader(status);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === 3 && type === WireType.LengthDelimited) details.push(readAny(reader.bytes()));
      else reader.skip(type, field);
    }
  } catch {
    // A peer that garbles its details still has a status and a message to tell.
  }
  return details;
}

function readAny(bytes: Uint8Array): Detail {
  const reader = new BinaryReader(bytes);
  let type = "";
  let value: Uint8Array = new Uint8Array();
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === WireType.LengthDelimited) type = reader.string();
    else if (field === 2 && wire === WireType.LengthDelimited) value = reader.bytes();
    else reader.skip(wire, field);
  }
  return { type: type.slice(type.lastIndexOf("/") + 1), value };
}
