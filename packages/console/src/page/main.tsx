import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { render } from "preact";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { browserClock } from "./browser-clock.ts";
import { Model, type PageState } from "./model.ts";
import { fromFragment, toFragment } from "./state/view.ts";
import { sessionTokens, withToken } from "./tokens.ts";
import { App } from "./view/app.tsx";
import "@tidemark/status/warmup-banner";

/** How long a tab may be in the background before it lets go of its connection, in milliseconds. */
const hiddenGraceMs = 10_000;

const root = document.getElementById("app");
if (root === null) throw new Error("The page has no #app");

// Relative, so that the page also works behind a proxy under a path of its own.
const tokens = sessionTokens(sessionStorage);
const transport = createConnectTransport({
  baseUrl: new URL(".", location.href).href,
  useBinaryFormat: true,
  interceptors: [withToken(tokens)],
});

const model: Model = new Model({
  client: createClient(AdminService, transport),
  clock: browserClock,
  tokens,
  onFrame: (callback) => {
    // No frames are painted in the background; there a moment later is soon enough.
    if (document.visibilityState === "visible") requestAnimationFrame(callback);
    else browserClock.setTimer(250, callback);
  },
  render: (state) => {
    document.title = titleOf(state);
    render(<App model={model} state={state} />, root);
  },
  writeAddress: (view, isNew) => {
    const address = `${location.pathname}${location.search}${toFragment(view)}`;
    if (isNew) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  },
});

addEventListener("popstate", () => model.visit(fromFragment(location.hash)));

let hidden: { cancel(): void } | undefined;
document.addEventListener("visibilitychange", () => {
  hidden?.cancel();
  if (document.visibilityState === "visible") model.setVisible(true);
  else hidden = browserClock.setTimer(hiddenGraceMs, () => model.setVisible(false));
});

model.start(fromFragment(location.hash));

function titleOf({ link, status }: PageState): string {
  if (link.type === "locked") return "Locked – Tidemark";
  if (link.type === "lost") return "Disconnected – Tidemark";
  const troubled = status?.streams.filter(({ problem }) => problem !== "").length ?? 0;
  return troubled > 0 ? `(${troubled}) Tidemark` : "Tidemark";
}
