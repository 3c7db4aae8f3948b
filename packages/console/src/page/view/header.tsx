import type { Model, PageState } from "../model.ts";
import type { LinkState } from "../link.ts";
import { agoText, countText, durationText } from "../text/time.ts";
import { Logo } from "./icons.tsx";
import { SafeText } from "./text.tsx";

const linkTexts: Readonly<Record<LinkState["type"], string>> = {
  connecting: "Connecting",
  live: "Live",
  lost: "Disconnected",
  locked: "Locked",
  paused: "Paused",
};

export function Header({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { status, link } = state;
  return (
    <header class="top">
      <h1>
        <Logo />
        Tidemark
      </h1>
      {status !== undefined && (
        <p class="about">
          <span>{countText(status.position)} changes</span>
          <span class="path">
            <SafeText text={status.dataDir} />
          </span>
        </p>
      )}
      {state.hasToken && (
        <button type="button" class="link token" onClick={() => model.askForToken("Use another token, or none.")}>
          Token
        </button>
      )}
      <span
        class="state link-state"
        data-mood={link.type === "live" ? "good" : link.type === "lost" || link.type === "locked" ? "trouble" : "busy"}
      >
        {linkTexts[link.type]}
      </span>
    </header>
  );
}

/** Says that what is shown is old, since when and why, for as long as it is. */
export function LinkBanner({ model, state }: { readonly model: Model; readonly state: PageState }) {
  const { link, pageNowMs } = state;
  if (link.type === "paused") {
    return (
      <section class="banner" aria-label="Connection">
        Paused while this tab was in the background. Catching up…
      </section>
    );
  }
  if (link.type === "locked") {
    return (
      <section class="banner" data-mood="trouble" aria-label="Connection">
        <p>
          <strong>The daemon wants a token:</strong> <SafeText text={link.reason} />
        </p>
        <button type="button" onClick={() => model.askForToken(link.reason)}>
          Enter a token
        </button>
      </section>
    );
  }
  if (link.type !== "lost") return null;
  const waitMs = link.nextTryMs - pageNowMs;
  return (
    <section class="banner" data-mood="trouble" aria-label="Connection">
      <p>
        <strong>No connection to the daemon:</strong> <SafeText text={link.error} />.{" "}
        {state.status === undefined
          ? "Nothing was read yet."
          : `What you see is as of ${agoText(link.sinceMs, pageNowMs)}.`}{" "}
        {waitMs < 500 ? "Trying now…" : `Trying again in ${durationText(Math.ceil(waitMs / 1_000) * 1_000)}.`}
      </p>
      <button type="button" onClick={() => model.reconnect()}>
        Try now
      </button>
    </section>
  );
}
