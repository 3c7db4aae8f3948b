/** Where and how a client reads. */
export interface ReadTarget {
  readonly port: number;
  readonly topic: string;
  readonly partitions: number;
  /** How many bytes the server may send ahead; undefined: the client's default. */
  readonly bufferBytes: number | undefined;
}

export interface ReadJob {
  /** How long to read. */
  readonly ms: number;
  /** Whether every message is wanted as an object, for clients that can do without. */
  readonly objects: boolean;
}

export interface ReadResult {
  readonly messages: number;
  readonly payloadBytes: number;
  readonly ms: number;
}

/** A client that is measured. It looks at the length of every message's data. */
export interface ReadClient {
  read(job: ReadJob): Promise<ReadResult>;
  close(): Promise<void>;
}
