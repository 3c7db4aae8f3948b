/** Something that is there at times: whoever wants it waits until it is. */
export class Gate<T> {
  #value: { readonly value: T } | undefined;
  readonly #waiters = new Set<(value: T) => void>();

  /** Lets everybody through who waits, and everybody who comes until `shut`. */
  open(value: T): void {
    this.#value = { value };
    for (const resolve of this.#waiters) resolve(value);
  }

  shut(): void {
    this.#value = undefined;
  }

  /** @throws `signal.reason`. */
  pass(signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (this.#value !== undefined) return resolve(this.#value.value);
      const onAbort = () => {
        this.#waiters.delete(onOpen);
        reject(signal.reason);
      };
      const onOpen = (value: T) => {
        this.#waiters.delete(onOpen);
        signal.removeEventListener("abort", onAbort);
        resolve(value);
      };
      this.#waiters.add(onOpen);
      signal.addEventListener("abort", onAbort, { once: true });
      return undefined;
    });
  }
}
