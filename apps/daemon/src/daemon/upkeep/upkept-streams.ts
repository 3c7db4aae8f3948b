import type { Source } from "@tidemark/store-watch";
import type { Followers } from "../followers.ts";
import type { UpkeptStream } from "./upkeep-types.ts";

/** What is followed, and how each source is seen a second time where it can be audited. */
export function upkeptStreams(
  followers: Pick<Followers, "watchers" | "sourceOf">,
  openAgain: (name: string) => (() => Promise<Source>) | undefined,
): UpkeptStream[] {
  return followers.watchers.map((watcher) => {
    const source = followers.sourceOf(watcher);
    return { watcher, openSource: source && openerOf(source, () => openAgain(watcher.name)) };
  });
}

function openerOf(source: Source, openAgain: () => (() => Promise<Source>) | undefined): UpkeptStream["openSource"] {
  const { resumable, snapshotMarker } = source.capabilities;
  if (!resumable || !snapshotMarker) return undefined;
  return source.snapshot === undefined ? openAgain() : async () => source;
}
