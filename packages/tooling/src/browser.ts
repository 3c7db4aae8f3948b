import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { onTestFinished } from "vitest";
import { onFileFinished } from "./file-scope.ts";

export type { Page };

// As root there is no sandbox, and nothing but the page may be asked for.
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

function chromiumPath(): string {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const paths = folders.flatMap((folder) =>
    ["chromium", "chromium-browser", "google-chrome"].map((name) => join(folder, name)),
  );
  const found = paths.find((path) => existsSync(path));
  if (found === undefined) throw new Error("There is no chromium in PATH.");
  return found;
}

/** What went wrong in a page that nobody expected. */
interface Complaints {
  readonly messages: string[];
  /** Requests to anything but the page's own origin. */
  readonly foreign: string[];
}

export interface TestPage {
  readonly page: Page;
  readonly complaints: Complaints;
}

let browser: Promise<Browser> | undefined;

/** One browser for the tests of a file; each page has a profile of its own. */
function launch(): Promise<Browser> {
  if (browser === undefined) {
    const launched = chromium.launch({ executablePath: chromiumPath(), args, timeout: 55_000 });
    browser = launched;
    onFileFinished(async () => {
      browser = undefined;
      await (await launched).close();
    });
  }
  return browser;
}

/** A page in a real Chromium, which sees nothing of other tests and goes away with its own. */
export async function openPage(url: string, options: BrowserContextOptions = {}): Promise<TestPage> {
  const context = await (await launch()).newContext({
    viewport: { width: 1280, height: 800 },
    locale: "en-GB",
    timezoneId: "UTC",
    ...options,
  });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  // Only ends a hang: what is slow is the machine.
  page.setDefaultTimeout(45_000);
  const complaints: Complaints = { messages: [], foreign: [] };
  page.on("pageerror", (error) => complaints.messages.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.messages.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) complaints.foreign.push(request.url());
  });
  await page.goto(url);
  return { page, complaints };
}
