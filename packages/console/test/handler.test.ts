import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { toNodeListener } from "@tidemark/status/http";
import { expect, onTestFinished, test } from "vitest";
import { consoleAssets, contentSecurityPolicy, createConsoleHandler } from "../src/index.ts";

const handle = createConsoleHandler();
const get = async (url: string, headers: Record<string, string> = {}, method = "GET") => {
  const answer = await handle({ method, url, headers });
  if (answer === undefined) throw new Error(`${url} is not known`);
  return answer;
};

test("the page is one document, one script, one style sheet and one icon", () => {
  const assets = consoleAssets();
  expect(
    [...assets.values()]
      .map(({ contentType }) => contentType.split(";")[0] ?? "")
      .toSorted((a, b) => a.localeCompare(b)),
  ).toEqual(["image/svg+xml", "text/css", "text/html", "text/javascript"]);
  const html = Buffer.from(assets.get("/")?.body ?? []).toString();
  const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => `/${path}`);
  expect(new Set(loaded)).toEqual(new Set([...assets.keys()].filter((path) => path !== "/")));
});

test("the page is safe under its own policy: nothing inline, nothing from elsewhere", () => {
  for (const [path, { body }] of consoleAssets()) {
    const text = Buffer.from(body).toString();
    if (path === "/") {
      expect(text).not.toMatch(/<style|style=|\son[a-z]+=|javascript:|<script(?![^>]*\bsrc=)/i);
      expect(text).not.toMatch(/(?:src|href)="(?:https?:)?\/\//i);
    }
    if (path.endsWith(".css")) expect(text).not.toMatch(/url\(|@import/);
    if (path.endsWith(".js")) expect(text).not.toMatch(/\beval\(|new Function\(/);
  }
  expect(contentSecurityPolicy).toContain("default-src 'none'");
  expect(contentSecurityPolicy).not.toMatch(/unsafe|\*|data:|https?:/);
});

test("every file carries the policy", async () => {
  for (const path of consoleAssets().keys()) {
    const { headers } = await get(path);
    expect(headers).toMatchObject({
      "content-security-policy": contentSecurityPolicy,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
    });
  }
});

test("the document is asked for anew, what has a hash in its name is kept", async () => {
  expect((await get("/")).headers["cache-control"]).toBe("no-cache");
  const script = [...consoleAssets().keys()].find((path) => path.endsWith(".js")) ?? "";
  expect(script).toMatch(/^\/assets\/page-[A-Z0-9]{8}\.js$/);
  expect((await get(script)).headers["cache-control"]).toBe("public, max-age=31536000, immutable");
});

test("a known etag is answered with 304, and compressed bytes have one of their own", async () => {
  const plain = await get("/");
  const compressed = await get("/", { "accept-encoding": "br, gzip" });
  expect(compressed.headers["content-encoding"]).toBe("gzip");
  expect(gunzipSync(compressed.body).equals(Buffer.from(plain.body))).toBe(true);
  const [tag, other] = [plain.headers["etag"] ?? "", compressed.headers["etag"] ?? ""];
  expect(tag).not.toBe(other);
  expect(await get("/", { "if-none-match": `"x", W/${tag}` })).toMatchObject({ status: 304, body: "" });
  expect((await get("/", { "if-none-match": other })).status).toBe(200);
  expect((await get("/", { "if-none-match": other, "accept-encoding": "gzip" })).status).toBe(304);
});

test("other paths are left alone, other methods refused", async () => {
  for (const url of [
    "/index.html",
    "/assets/",
    "/assets/../package.json",
    "/tidemark.admin.v1.AdminService/Status",
    "/x",
  ]) {
    expect(handle({ method: "GET", url, headers: {} })).toBe(undefined);
  }
  expect((await get("/", {}, "POST")).status).toBe(405);
  expect((await get("/?theme=dark")).status).toBe(200);
});

test("a real server serves it", async ({ signal }) => {
  const listener = toNodeListener(handle);
  const server = createServer((request, response) => {
    if (!listener(request, response)) response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const [path, asset] of consoleAssets()) {
    const response = await fetch(origin + path, { signal });
    expect(response.headers.get("content-type")).toBe(asset.contentType);
    expect(response.headers.get("content-encoding")).toBe("gzip");
    expect(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(asset.body))).toBe(true);
  }
  expect((await fetch(`${origin}/nothing`, { signal })).status).toBe(404);
});
