import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What it may hold while it is not full. It lies in memory, and takes only what is written to it. */
const roomyBytes = 1 << 30;

/** A file system of its own that can be full at once, and have room again: the kernel's own ENOSPC. */
export class SmallDisk implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws where mounting is not allowed, with what it takes */
  static async mount(path: string): Promise<SmallDisk> {
    await mkdir(path, { recursive: true });
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${roomyBytes}`, "tidemark-chaos", path]);
    } catch (error) {
      const why = error instanceof Error ? error.message.trim() : String(error);
      throw new Error(`a full disk needs Linux and the right to mount, such as root's: ${why}`, { cause: error });
    }
    return new SmallDisk(path);
  }

  /** From now on it takes no more than a few bytes. */
  async fill(slackBytes: number): Promise<void> {
    for (;;) {
      const { blocks, bfree, bsize } = await statfs(this.path);
      const usedBytes = (blocks - bfree) * bsize;
      const isDone = await run("mount", ["-o", `remount,size=${usedBytes + slackBytes}`, this.path]).then(
        () => true,
        // Somebody wrote more than that in between.
        () => false,
      );
      if (isDone) return;
    }
  }

  /** It has room again. */
  async free(): Promise<void> {
    await run("mount", ["-o", `remount,size=${roomyBytes}`, this.path]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Whoever still has a file open there keeps it to itself.
    await run("umount", ["-l", this.path]);
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Why there can be no full disk here; undefined: there can. */
export async function whyNoSmallDisk(): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-disk-"));
  try {
    await using _ = await SmallDisk.mount(folder);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
