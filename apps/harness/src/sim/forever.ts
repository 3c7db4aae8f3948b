/** What a dead process answers. One each: what waits for a promise is kept by it. */
export const forever = (): Promise<never> => new Promise<never>(() => undefined);
