import { createHash } from "node:crypto";
import { pageFiles } from "./page-files.ts";

/** One file of the page. */
export interface ConsoleAsset {
  readonly body: Uint8Array;
  readonly contentType: string;
  /** Strong, with its quotes. */
  readonly etag: string;
  /** The name holds a hash of the content: it may be cached for ever. */
  readonly isImmutable: boolean;
}

const contentTypes: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

let assets: ReadonlyMap<string, ConsoleAsset> | undefined;

/** The page by path: `/` and what it loads, all below the same folder. Read once per process. */
export function consoleAssets(): ReadonlyMap<string, ConsoleAsset> {
  assets ??= new Map(
    pageFiles().map(({ path, body }) => {
      const hash = createHash("sha256").update(body).digest("base64url").slice(0, 22);
      const asset = {
        body,
        contentType: contentTypes[path.split(".").at(-1) ?? ""] ?? "application/octet-stream",
        etag: `"${hash}"`,
        isImmutable: path.startsWith("assets/"),
      };
      return [path === "index.html" ? "/" : `/${path}`, asset] as const;
    }),
  );
  return assets;
}
