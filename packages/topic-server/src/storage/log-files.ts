import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { close, constants, fdatasync, fstatSync, ftruncate, openSync, read, writev } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { TopicServerError } from "../topic-server-error.ts";

/** One file of a log. Positions are bytes from its start. */
export interface LogFile {
  /** Bytes the file has, allocated or written. */
  size(): number;
  /** Writes all pieces one after the other from `position` on. A failure may leave any part of them written. */
  write(pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** The same, and these pieces are on the disk when it resolves. Of what was written before, that is not said. */
  writeThrough(pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** What was written before the call is on the disk when it resolves. */
  sync(): Promise<void>;
  /** Fills `target` as far as the file goes, and says how far that was. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Cuts or extends (with zeros) to `size` bytes. */
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

/** Where logs keep their files: the disk, memory, or a disk that fails on purpose. Paths are relative, with slashes. */
export interface LogFiles {
  /** Whether what was synced survives the process. Where it does not, files are not preallocated. */
  readonly isDurable: boolean;
  /** Opens to read and write. @throws {TopicServerError} `DISK_FULL` or `DISK_FAILED`. */
  open(path: string, isNew: boolean): Promise<LogFile>;
  /** File names in a folder, in any order; none when it does not exist. */
  list(folder: string): Promise<string[]>;
  /** Removes a file or a folder with all that is in it. */
  remove(path: string): Promise<void>;
  /** Creations and removals in a folder, which is made where it does not exist, are on the disk when it resolves. */
  syncFolder(folder: string): Promise<void>;
}

/** Errors of the system by what can be done about them. */
export function diskError(error: unknown, what: string): TopicServerError {
  if (TopicServerError.is(error)) return error;
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new TopicServerError(
      "DISK_FULL",
      `No room on the disk to ${what} (${code}). Make room, or shorten retention`,
      {
        cause: error,
        retryable: true,
      },
    );
  }
  return new TopicServerError("DISK_FAILED", `Could not ${what}: ${code ?? String(error)}`, { cause: error });
}

/**
 * On Linux a write to a file that is open with O_DSYNC is a write and an fdatasync, with one trip to another thread instead
 * of two. Elsewhere the flag promises less: macOS leaves the bytes in the memory of the disk.
 */
const throughFlags = process.platform === "linux" ? constants.O_RDWR | constants.O_DSYNC : undefined;

/** `fs` callbacks as promises: one promise per group of writes. */
class DiskFile implements LogFile {
  readonly #fd: number;
  readonly #location: string;
  readonly #path: string;
  /** Opened for the first `writeThrough`. */
  #throughFd: number | undefined;
  #size: number;

  constructor(fd: number, location: string, path: string) {
    this.#fd = fd;
    this.#location = location;
    this.#path = path;
    this.#size = fstatSync(fd).size;
  }

  size(): number {
    return this.#size;
  }

  write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    return this.#write(this.#fd, pieces, position);
  }

  async writeThrough(pieces: readonly Uint8Array[], position: number): Promise<void> {
    if (throughFlags === undefined) {
      await this.write(pieces, position);
      await this.sync();
      return;
    }
    try {
      this.#throughFd ??= openSync(this.#location, throughFlags);
    } catch (error) {
      throw diskError(error, `open ${this.#path}`);
    }
    await this.#write(this.#throughFd, pieces, position);
  }

  #write(fd: number, pieces: readonly Uint8Array[], position: number): Promise<void> {
    let total = 0;
    for (const piece of pieces) total += piece.length;
    return new Promise((resolve, reject) => {
      const step = (rest: readonly Uint8Array[], at: number, left: number) => {
        writev(fd, rest, at, (error, written) => {
          if (error !== null) reject(diskError(error, `write to ${this.#path}`));
          else if (written === left) {
            this.#size = Math.max(this.#size, at + written);
            resolve();
          } else if (written === 0) reject(new TopicServerError("DISK_FAILED", `${this.#path} takes no more bytes`));
          else step(skip(rest, written), at + written, left - written);
        });
      };
      step(pieces, position, total);
    });
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => {
        if (error === null) resolve();
        else reject(diskError(error, `sync ${this.#path}`));
      });
    });
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const step = (at: number) => {
        read(this.#fd, target, at, target.length - at, position + at, (error, got) => {
          if (error !== null) reject(diskError(error, `read ${this.#path}`));
          else if (got === 0 || at + got === target.length) resolve(at + got);
          else step(at + got);
        });
      };
      step(0);
    });
  }

  truncate(size: number): Promise<void> {
    return new Promise((resolve, reject) => {
      ftruncate(this.#fd, size, (error) => {
        if (error !== null) {
          reject(diskError(error, `cut ${this.#path}`));
          return;
        }
        this.#size = size;
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    const fds = this.#throughFd === undefined ? [this.#fd] : [this.#fd, this.#throughFd];
    await Promise.all(fds.map((fd) => new Promise<void>((resolve) => close(fd, () => resolve()))));
  }
}

function skip(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let left = bytes;
  for (const piece of pieces) {
    if (left >= piece.length) left -= piece.length;
    else {
      rest.push(left === 0 ? piece : piece.subarray(left));
      left = 0;
    }
  }
  return rest;
}

/** Makes a folder with those that it is in. Nothing that is made here is lost at a power failure when it resolves. */
export async function makeFolder(folder: string): Promise<void> {
  const path = resolve(folder);
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  try {
    await syncUp(dirname(path), dirname(first));
  } catch (error) {
    throw diskError(error, `sync the folders of ${folder}`);
  }
}

/** Creations and removals in a folder, and in all that it is in up to `top`, are on the disk when it resolves. */
async function syncUp(folder: string, top: string): Promise<void> {
  // Windows has no way to sync a folder, and no need.
  if (process.platform === "win32") return;
  for (let path = folder; path.length >= top.length; path = dirname(path)) {
    const handle: FileHandle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (path === dirname(path)) return;
  }
}

/** Files below a folder of the disk. */
export function diskFiles(root: string): LogFiles {
  const at = (path: string) => join(root, ...path.split("/"));
  return {
    isDurable: true,
    async open(path, isNew) {
      try {
        return new DiskFile(openSync(at(path), isNew ? "wx+" : "r+"), at(path), path);
      } catch (error) {
        throw diskError(error, `open ${path}`);
      }
    },
    async list(folder) {
      try {
        return await readdir(at(folder));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw diskError(error, `list ${folder}`);
      }
    },
    async remove(path) {
      try {
        await rm(at(path), { recursive: true, force: true });
      } catch (error) {
        throw diskError(error, `remove ${path}`);
      }
    },
    async syncFolder(folder) {
      try {
        await mkdir(at(folder), { recursive: true });
        // With the one that the root is in.
        await syncUp(at(folder), dirname(root));
      } catch (error) {
        throw diskError(error, `sync the folder ${folder}`);
      }
    },
  };
}
