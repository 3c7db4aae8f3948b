/** Where a client of chaos connects. */
export interface PeerTarget {
  /** `grpcs://127.0.0.1:PORT/local`. */
  readonly connectionString: string;
  /** Who signed the server's certificate, in PEM; undefined: it speaks plainly. */
  readonly ca?: string;
}

/** What a server of chaos listens with. */
interface BrokerTarget {
  readonly folder: string;
  readonly port: number;
  /** Its certificate and key, and who signed them, in PEM. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}

/** What happens in the processes of chaos, as they tell it by themselves. */
export type PeerEvent =
  /** Every message of a producer up to this number is acknowledged. */
  | { readonly type: "acknowledged"; readonly producer: string; readonly seqNo: number }
  /** A batch, from its first offset on: who wrote each message, and under which number. */
  | {
      readonly type: "delivered";
      readonly partition: number;
      readonly first: number;
      readonly messages: readonly (readonly [producer: string, seqNo: number])[];
    }
  | { readonly type: "committed"; readonly partition: number; readonly end: number }
  /** A message says something else than was written. */
  | { readonly type: "garbled"; readonly what: string }
  | { readonly type: "disconnected"; readonly error: string };

export type TopicsBrokerRole = {
  /** Serves what is in the folder; resolves when it listens. */
  listen(target: BrokerTarget): Promise<void>;
  jumpClock(byMs: number): Promise<void>;
  close(): Promise<void>;
};

export type TopicsPeerRole = {
  /** Writes as every producer until it is told to stop. Resolves when it has begun. */
  write(target: PeerTarget): Promise<void>;
  /** Writes no further messages; resolves, with the last number of each producer, when all are acknowledged. */
  pause(): Promise<Readonly<Record<string, number>>>;
  resume(): Promise<void>;
  /** Reads and commits, batch after batch. Resolves when it has begun. */
  read(target: PeerTarget): Promise<void>;
  close(): Promise<void>;
};
