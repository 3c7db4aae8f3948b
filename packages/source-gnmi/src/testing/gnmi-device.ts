import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { type Clock, systemClock } from "@tidemark/clock";
import {
  createFrameServer,
  type FrameCall,
  type FrameServer,
  type FrameServerOptions,
} from "@tidemark/connect-transport";
import type { GnmiCredentials } from "../endpoint.ts";
import type { Json } from "../exact-json.ts";
import {
  type CapabilityResponse,
  CapabilityResponseSchema,
  type GetRequest,
  type GetResponse,
  GetResponseSchema,
  gNMI,
  type SetRequest,
  type SetResponse,
  SetResponseSchema,
  type TypedValue,
  type Update,
  UpdateResult_Operation,
} from "../gen/gnmi/gnmi_pb.ts";
import { formatPath, type GnmiPath, parsePath, rootPath } from "../path.ts";
import { type EncodingName, encodingName, encodingOf, readUpdate, writeValue } from "../typed-value.ts";
import { fromWirePath, toWirePath, wholePath } from "../wire-path.ts";
import { DeviceCall, type DeviceFaults, type DeviceManners } from "./device-call.ts";
import { type DeviceLeaf, type DeviceTransaction, DeviceTree, type DeviceValue, encodeLeaf } from "./device-tree.ts";
import { Relay } from "./relay.ts";

export interface GnmiDeviceOptions extends Partial<Omit<DeviceManners, "atomic" | "sampled">> {
  readonly atomic?: readonly string[];
  readonly sampled?: readonly string[];
  readonly faults?: Partial<DeviceFaults>;
  /** With `requestCert` for mutual TLS. @default none: plain */
  readonly tls?: NonNullable<FrameServerOptions["tls"]>;
  /** Whom it serves. @default everybody */
  readonly credentials?: GnmiCredentials;
  /** Whom it serves. @default everybody */
  readonly token?: string;
  /** Whether it has the Capabilities call. @default true */
  readonly hasCapabilities?: boolean;
  /** Whether connections can be cut and frozen, for which every byte goes through a second socket. @default true */
  readonly isBreakable?: boolean;
  /** @default the machine's clock */
  readonly clock?: Clock;
}

export interface GnmiDeviceStats {
  /** Subscribe calls under way. */
  readonly subscriptions: number;
  /** Subscribe calls so far. */
  readonly calls: number;
  readonly leaves: number;
  /** Notifications and updates that were sent. */
  readonly notifications: number;
  readonly updates: number;
}

/**
 * A network device that is none: a real gNMI server over a real tree, for tests of whatever speaks gNMI. What it does wrong
 * can be said while it runs.
 */
export class GnmiDevice implements AsyncDisposable {
  readonly tree = new DeviceTree();
  readonly faults: DeviceFaults;
  readonly #options: GnmiDeviceOptions;
  readonly #manners: DeviceManners;
  readonly #clock: Clock;
  readonly #calls = new Set<DeviceCall>();
  #server: FrameServer | undefined;
  #relay: Relay | undefined;
  #host = "127.0.0.1";
  #port = 0;
  #lastNs = 0n;
  #commits = 0;
  #stats = { calls: 0, notifications: 0, updates: 0 };

  constructor(options: GnmiDeviceOptions = {}) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.faults = {
      refuseOnChange: false,
      refuseTargetDefined: false,
      slowMs: 0,
      isReordering: false,
      isCoalescing: false,
      withholdsSync: false,
      ...options.faults,
    };
    this.#manners = {
      bundle: options.bundle ?? 1,
      subtrees: options.subtrees ?? false,
      atomic: (options.atomic ?? []).map(parsePath),
      sampled: (options.sampled ?? []).map(parsePath),
      encodings: options.encodings ?? ["json", "json_ietf", "proto", "bytes", "ascii"],
      deletesContainers: options.deletesContainers ?? false,
      pollsOnly: options.pollsOnly ?? false,
    };
  }

  /** `127.0.0.1:9339` */
  get address(): string {
    return `${this.#host}:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  stats(): GnmiDeviceStats {
    return { ...this.#stats, subscriptions: this.#calls.size, leaves: this.tree.size };
  }

  async listen(options: { readonly host?: string; readonly port?: number } = {}): Promise<this> {
    this.#host = options.host ?? this.#host;
    const { tls } = this.#options;
    this.#server = createFrameServer({
      frames: { "/gnmi.gNMI/Subscribe": (call) => this.#subscribe(call) },
      routes: (router) => this.#routes(router),
      ...(tls !== undefined && { tls }),
      clock: this.#clock,
      closeTimeoutMs: 100,
    });
    const wanted = options.port ?? this.#port;
    if (this.#options.isBreakable === false) {
      ({ port: this.#port } = await this.#server.listen({ host: this.#host, port: wanted }));
      return this;
    }
    const { port } = await this.#server.listen();
    this.#relay = new Relay(port);
    this.#port = await this.#relay.listen(this.#host, wanted);
    return this;
  }

  /** One transaction: deletions, then updates. Resolves at once; who is subscribed is told. */
  apply(transaction: DeviceTransaction, commitId?: string): void {
    const change = this.tree.apply(transaction, this.#now());
    const id = commitId ?? `commit-${++this.#commits}`;
    for (const call of this.#calls) call.changed(change, id);
  }

  set(path: string | GnmiPath, value: DeviceValue): void {
    this.apply({ update: [{ path, value }] });
  }

  delete(...paths: readonly (string | GnmiPath)[]): void {
    this.apply({ delete: paths });
  }

  /** The whole tree as JSON. */
  json(): Json {
    return DeviceTree.subtree(rootPath, this.tree.select(rootPath));
  }

  /** Ends every connection with a reset; nothing happens where it is not breakable. */
  cut(): void {
    this.#relay?.cut();
  }

  /** Half-open: connections stand, and nothing gets through; nothing happens where it is not breakable. */
  freeze(): void {
    this.#relay?.freeze();
  }

  thaw(): void {
    this.#relay?.thaw();
  }

  /** Ends every subscription with an error of the device's own. */
  fail(message = "the device lost its history", code: Code = Code.DataLoss): void {
    for (const call of this.#calls) call.shutDown(new ConnectError(message, code));
  }

  /** Goes away, changes as `whileDown` says, and comes back at the same port. */
  async restart(whileDown?: (tree: DeviceTree) => void): Promise<void> {
    await this.close();
    whileDown?.(this.tree);
    await this.listen();
  }

  async close(): Promise<void> {
    const [relay, server] = [this.#relay, this.#server];
    this.#relay = undefined;
    this.#server = undefined;
    await relay?.close();
    await server?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Nanoseconds, never the same twice. */
  #now(): bigint {
    const now = BigInt(this.#clock.now()) * 1_000_000n;
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n;
    return this.#lastNs;
  }

  #subscribe(call: FrameCall): DeviceCall {
    this.#admit(call.headers);
    const served = new DeviceCall(call, {
      tree: this.tree,
      clock: this.#clock,
      faults: this.faults,
      manners: this.#manners,
      now: () => this.#now(),
      onSent: (updates) => {
        this.#stats.notifications++;
        this.#stats.updates += updates;
      },
      onClosed: (closed) => this.#calls.delete(closed),
    });
    this.#calls.add(served);
    this.#stats.calls++;
    return served;
  }

  #admit(headers: Headers): void {
    const { credentials, token } = this.#options;
    if (credentials !== undefined) {
      if (headers.get("username") === credentials.user && headers.get("password") === credentials.password) return;
      throw new ConnectError("user or password are wrong", Code.Unauthenticated);
    }
    if (token !== undefined && headers.get("authorization") !== `Bearer ${token}`) {
      throw new ConnectError("the token is wrong", Code.Unauthenticated);
    }
  }

  #routes(router: ConnectRouter): void {
    router.rpc(gNMI.method.get, (request, { requestHeader }) => {
      this.#admit(requestHeader);
      return this.#get(request);
    });
    router.rpc(gNMI.method.set, (request, { requestHeader }) => {
      this.#admit(requestHeader);
      return this.#set(request);
    });
    if (this.#options.hasCapabilities === false) return;
    router.rpc(gNMI.method.capabilities, (_, { requestHeader }) => {
      this.#admit(requestHeader);
      return this.#capabilities();
    });
  }

  #capabilities(): CapabilityResponse {
    return create(CapabilityResponseSchema, {
      supportedModels: [{ name: "tidemark-device", organization: "Tidemark", version: "1.0.0" }],
      supportedEncodings: this.#manners.encodings.map(encodingOf),
      gNMIVersion: "0.10.0",
    });
  }

  #get({ prefix, path, encoding: wanted, type }: GetRequest): GetResponse {
    const encoding = encodingName(wanted);
    if (encoding === undefined || !this.#manners.encodings.includes(encoding)) {
      throw new ConnectError(`the encoding ${wanted} is not supported`, Code.Unimplemented);
    }
    const whole = fromWirePath(prefix);
    const timestamp = this.#now();
    const paths = path.length === 0 ? [whole] : path.map((each) => wholePath(whole, each));
    const isWanted = ({ path: at }: DeviceLeaf) => {
      const isState = at.elems.some(({ name }) => name === "state");
      return type === 0 || (type === 1 ? !isState : isState);
    };
    return create(GetResponseSchema, {
      notification: paths.map((each) => {
        const leaves = this.tree.select({ ...each, target: "" }).filter(isWanted);
        return {
          timestamp,
          ...(whole.target !== "" && { prefix: toWirePath({ ...rootPath, target: whole.target }) }),
          update: this.#getUpdates({ ...each, target: "" }, leaves, encoding),
        };
      }),
    });
  }

  #getUpdates(path: GnmiPath, leaves: readonly DeviceLeaf[], encoding: EncodingName) {
    const isWild = path.elems.some(
      ({ name, keys }) => name === "*" || name === "..." || keys.some(([, v]) => v === "*"),
    );
    const isLeaf = leaves.length === 1 && leaves[0]?.text === formatPath(path);
    if (encoding.startsWith("json") && !isWild && !isLeaf) {
      if (leaves.length === 0) throw new ConnectError(`there is nothing at ${formatPath(path)}`, Code.NotFound);
      return [{ path: toWirePath(path), val: writeValue(DeviceTree.subtree(path, leaves), encoding) }];
    }
    return leaves.map((leaf) => ({ path: toWirePath(leaf.path), val: encodeLeaf(leaf, encoding) }));
  }

  /** All or nothing: what cannot be read is found before anything changes. */
  #set({ prefix, delete: deletes, replace, update }: SetRequest): SetResponse {
    const whole = { ...fromWirePath(prefix), target: "" };
    try {
      const writes = (updates: readonly Update[]) =>
        updates.map((each) => {
          const value = readUpdate(each);
          const path = wholePath(whole, each.path);
          return { path, value: "subtree" in value ? value.subtree : (each.val as TypedValue).value };
        });
      const [replaced, updated] = [writes(replace), writes(update)];
      const deleted = deletes.map((each) => wholePath(whole, each));
      this.apply({
        delete: [...deleted, ...replaced.map(({ path }) => path)],
        update: [...replaced, ...updated].map(({ path, value }) => ({ path, value: plain(value) })),
      });
      const result = (op: UpdateResult_Operation) => (path: GnmiPath) => ({ op, path: toWirePath(path) });
      return create(SetResponseSchema, {
        timestamp: this.#lastNs,
        response: [
          ...deleted.map(result(UpdateResult_Operation.DELETE)),
          ...replaced.map(({ path }) => result(UpdateResult_Operation.REPLACE)(path)),
          ...updated.map(({ path }) => result(UpdateResult_Operation.UPDATE)(path)),
        ],
      });
    } catch (error) {
      throw new ConnectError(error instanceof Error ? error.message : String(error), Code.InvalidArgument);
    }
  }
}

/** Scalars that came as JSON are kept as what they are. */
function plain(value: Json | TypedValue["value"]): DeviceValue {
  if (typeof value !== "object" || value === null || !("case" in value)) return value;
  const typed = value as TypedValue["value"];
  if (typed.case !== "jsonVal" && typed.case !== "jsonIetfVal") return typed;
  return JSON.parse(Buffer.from(typed.value).toString()) as Json;
}
