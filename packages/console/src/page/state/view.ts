import { decodeKey, encodeKey } from "../text/bytes.ts";

/** The moment that the table shows; undefined elsewhere means now. */
export type Moment =
  | { readonly type: "time"; readonly ms: number }
  | { readonly type: "position"; readonly position: bigint };

/** The parts of the page, of which one is shown. */
export const pageNames = ["data", "streams", "topics", "migrations", "sites"] as const;
export type PageName = (typeof pageNames)[number];

/** What the person asked to see. It is what the address of the page holds. */
export interface View {
  readonly page: PageName;
  /** The topic whose partitions are shown. */
  readonly topic: string | undefined;
  /** Undefined: the first one. */
  readonly stream: string | undefined;
  /** Only keys that begin with this text. */
  readonly prefix: string;
  /** The page of the table begins at this key; undefined: the first page. */
  readonly start: Uint8Array | undefined;
  readonly withDeleted: boolean;
  readonly at: Moment | undefined;
  /** The key whose history is open. It may be of another stream than the table's. */
  readonly key: { readonly stream: string; readonly key: Uint8Array } | undefined;
}

export const firstView: View = {
  page: "data",
  topic: undefined,
  stream: undefined,
  prefix: "",
  start: undefined,
  withDeleted: false,
  at: undefined,
  key: undefined,
};

/** The view as the fragment of an address. Equal views give equal text. */
export function toFragment(view: View): string {
  const params = new URLSearchParams();
  if (view.page !== "data") params.set("view", view.page);
  if (view.topic !== undefined) params.set("topic", view.topic);
  if (view.stream !== undefined) params.set("stream", view.stream);
  if (view.prefix !== "") params.set("prefix", view.prefix);
  if (view.start !== undefined) params.set("start", encodeKey(view.start));
  if (view.withDeleted) params.set("deleted", "1");
  if (view.at?.type === "time") params.set("at", new Date(view.at.ms).toISOString());
  if (view.at?.type === "position") params.set("position", String(view.at.position));
  if (view.key !== undefined) {
    params.set("key", encodeKey(view.key.key));
    if (view.key.stream !== view.stream) params.set("of", view.key.stream);
  }
  const text = params.toString();
  return text === "" ? "" : `#${text}`;
}

/** Reads an address that a person may have changed by hand: what makes no sense is left out. */
export function fromFragment(fragment: string): View {
  const params = new URLSearchParams(fragment.replace(/^#/, ""));
  const stream = params.get("stream") ?? undefined;
  const keyText = params.get("key");
  const key = keyText === null ? undefined : decodeKey(keyText);
  const keyStream = params.get("of") ?? stream;
  const start = params.get("start");
  const page = params.get("view");
  return {
    page: pageNames.find((name) => name === page) ?? "data",
    topic: params.get("topic") ?? undefined,
    stream,
    prefix: params.get("prefix") ?? "",
    start: start === null ? undefined : decodeKey(start),
    withDeleted: params.get("deleted") === "1",
    at: momentOf(params.get("at"), params.get("position")),
    key: key === undefined || keyStream === undefined ? undefined : { stream: keyStream, key },
  };
}

function momentOf(time: string | null, position: string | null): Moment | undefined {
  if (position !== null && /^\d{1,19}$/.test(position)) return { type: "position", position: BigInt(position) };
  const ms = time === null ? Number.NaN : Date.parse(time);
  return Number.isNaN(ms) ? undefined : { type: "time", ms };
}

/** Whether the table of two views has the same content: only then its rows may stay while it loads. */
export const isSameTable = (a: View, b: View): boolean => toFragment(tableOf(a)) === toFragment(tableOf(b));

const tableOf = (view: View): View => ({ ...view, key: undefined, page: "data", topic: undefined });

export const isSameMoment = (a: Moment | undefined, b: Moment | undefined): boolean =>
  toFragment({ ...firstView, at: a }) === toFragment({ ...firstView, at: b });
