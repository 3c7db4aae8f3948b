/** How a batch came to be, as stored. */
export const batchKinds = { stream: 1, snapshot: 2, retry: 3 } as const;
