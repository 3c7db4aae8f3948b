import { gzipSync } from "node:zlib";
import { methodRefusal, type PlainHandler, pathOf } from "@tidemark/status/http";
import { type ConsoleAsset, consoleAssets } from "./assets.ts";

/** Nothing but the page's own files and its own origin: whatever a key or a value holds, it cannot run or load anything. */
export const contentSecurityPolicy: string = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const gzipped = new WeakMap<ConsoleAsset, Uint8Array>();

function gzipOf(asset: ConsoleAsset): Uint8Array {
  const known = gzipped.get(asset);
  if (known !== undefined) return known;
  const made = gzipSync(asset.body);
  gzipped.set(asset, made);
  return made;
}

/**
 * Serves the page at `/` and what it loads below it; undefined for every other path. The page calls the
 * `tidemark.admin.v1.AdminService` of the same origin by the Connect protocol.
 *
 *     const page = toNodeListener(createConsoleHandler());
 */
export function createConsoleHandler(): PlainHandler {
  const assets = consoleAssets();
  return (request) => {
    const asset = assets.get(pathOf(request));
    if (asset === undefined) return undefined;
    const refusal = methodRefusal(request);
    if (refusal !== undefined) return refusal;
    const headers = {
      "content-type": asset.contentType,
      "content-security-policy": contentSecurityPolicy,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": asset.isImmutable ? "public, max-age=31536000, immutable" : "no-cache",
      vary: "accept-encoding",
    };
    const isGzip = /\bgzip\b/.test(request.headers["accept-encoding"] ?? "");
    // A strong etag names bytes, and the compressed ones are others.
    const etag = isGzip ? asset.etag.replace(/"$/, '-gzip"') : asset.etag;
    const known = request.headers["if-none-match"]?.split(",").map((tag) => tag.trim().replace(/^W\//, "")) ?? [];
    if (known.includes(etag)) return { status: 304, headers: { ...headers, etag }, body: "" };
    return isGzip
      ? { status: 200, headers: { ...headers, etag, "content-encoding": "gzip" }, body: gzipOf(asset) }
      : { status: 200, headers: { ...headers, etag }, body: asset.body };
  };
}
