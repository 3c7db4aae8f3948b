import type { LogFile, LogFiles } from "../src/storage/log-files.ts";
import { memoryFiles } from "../src/storage/memory-files.ts";

/** Files in memory whose syncs happen when they are told to. */
export function heldFiles(): { readonly files: LogFiles; held(): Promise<() => void>; isHolding: boolean } {
  const memory = memoryFiles();
  const waiting: (() => void)[] = [];
  let arrived: (() => void) | undefined;
  const it = {
    isHolding: false,
    files: {
      ...memory,
      isDurable: false,
      list: (folder: string) => memory.list(folder),
      remove: (name: string) => memory.remove(name),
      syncFolder: (folder: string) => memory.syncFolder(folder),
      async open(name: string, isNew: boolean): Promise<LogFile> {
        const file = await memory.open(name, isNew);
        const held: LogFile = {
          size: () => file.size(),
          write: (pieces, position) => file.write(pieces, position),
          async writeThrough(pieces, position) {
            await file.write(pieces, position);
            await held.sync();
          },
          read: (target, position) => file.read(target, position),
          truncate: (size) => file.truncate(size),
          close: () => file.close(),
          async sync() {
            if (!it.isHolding) return;
            await new Promise<void>((resolve) => {
              waiting.push(resolve);
              arrived?.();
            });
          },
        };
        return held;
      },
    } satisfies LogFiles,
    async held() {
      if (waiting.length === 0) await new Promise<void>((resolve) => (arrived = resolve));
      return waiting.shift() as () => void;
    },
  };
  return it;
}
