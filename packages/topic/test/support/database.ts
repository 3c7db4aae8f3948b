import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { createFrameServer, type FrameHandler, type FrameServerOptions } from "@tidemark/connect-transport";
import { LoginResultSchema } from "../../src/gen/ydb/auth_pb.ts";
import { AuthService } from "../../src/gen/ydb/auth_v1_pb.ts";
import { ListEndpointsResultSchema, WhoAmIResultSchema } from "../../src/gen/ydb/discovery_pb.ts";
import { DiscoveryService } from "../../src/gen/ydb/discovery_v1_pb.ts";
import type { OperationSchema } from "../../src/gen/ydb/operation_pb.ts";
import { QueryService } from "../../src/gen/ydb/query_v1_pb.ts";
import { StatusIds_StatusCode as Status } from "../../src/gen/ydb/status_pb.ts";
import { TopicService } from "../../src/gen/ydb/topic_v1_pb.ts";

type OperationInit = MessageInitShape<typeof OperationSchema>;

/** A successful operation, with its result. */
export function done<S extends DescMessage>(schema?: S, result?: MessageInitShape<S>): { operation: OperationInit } {
  const packed = schema === undefined ? {} : { result: anyPack(schema, create(schema, result)) };
  return { operation: { ready: true, status: Status.SUCCESS, ...packed } };
}

export function refused(status: Status, message: string): { operation: OperationInit } {
  return { operation: { ready: true, status, issues: [{ message, issueCode: 500 }] } };
}

interface NodeAddress {
  readonly address: string;
  readonly port: number;
  readonly nodeId: number;
  readonly location?: string;
  readonly sslTargetNameOverride?: string;
}

/** A node of a database over a real socket, which answers what a test wants it to. */
export interface TestNode extends AsyncDisposable {
  readonly port: number;
  /** Names of the calls so far, with the token that each had. */
  readonly calls: { readonly name: string; readonly token: string | null; readonly headers: Headers }[];
  /** Calls of one name. */
  count(name: string): number;
  close(): Promise<void>;
}

export interface TestNodeOptions {
  readonly nodeId?: number;
  /** What it says the endpoints are. @default itself */
  readonly endpoints?: (self: NodeAddress) => readonly NodeAddress[];
  readonly selfLocation?: string;
  /** Whether it takes this token. @default any */
  readonly accepts?: (token: string | null) => boolean;
  readonly login?: (user: string, password: string) => string | undefined;
  readonly topics?: Record<string, unknown>;
  readonly query?: Record<string, unknown>;
  readonly onStream?: FrameHandler;
  readonly server?: Partial<FrameServerOptions>;
}

export async function startNode(options: TestNodeOptions = {}): Promise<TestNode> {
  const calls: TestNode["calls"] = [];
  const accepts = options.accepts ?? (() => true);
  const note = (name: string, headers: Headers) => {
    const token = headers.get("x-ydb-auth-ticket");
    calls.push({ name, token, headers });
    if (!accepts(token)) throw new ConnectError("the token is not good", Code.Unauthenticated);
  };
  /** Adds what every method does. */
  const noted = (methods: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(methods).map(([name, method]) => [
        name,
        (request: unknown, context: HandlerContext) => {
          note(name, context.requestHeader);
          return (method as (request: unknown, context: HandlerContext) => unknown)(request, context);
        },
      ]),
    );
  const onStream: FrameHandler = (call) => {
    note(call.path.split("/").at(-1) ?? "", call.headers);
    return (options.onStream ?? echo)(call);
  };
  const self = () => ({ address: "127.0.0.1", port: node.port, nodeId: options.nodeId ?? 1 });
  const server = createFrameServer({
    ...options.server,
    frames: {
      "/Ydb.Topic.V1.TopicService/StreamRead": onStream,
      "/Ydb.Topic.V1.TopicService/StreamWrite": onStream,
    },
    routes: (router) => {
      router.service(
        DiscoveryService,
        noted({
          listEndpoints: () =>
            done(ListEndpointsResultSchema, {
              endpoints: [...(options.endpoints?.(self()) ?? [self()])],
              selfLocation: options.selfLocation ?? "",
            }),
          whoAmI: () => done(WhoAmIResultSchema, { user: "root", groups: ["all"] }),
        }),
      );
      router.service(AuthService, {
        login: ({ user, password }) => {
          calls.push({ name: "login", token: null, headers: new Headers() });
          const token = options.login?.(user, password);
          if (token === undefined) return refused(Status.UNAUTHORIZED, "wrong password");
          return done(LoginResultSchema, { token });
        },
      });
      router.service(TopicService, noted(options.topics ?? {}));
      router.service(QueryService, noted(options.query ?? {}));
    },
  });
  const { port } = await server.listen();
  const node: TestNode = {
    port,
    calls,
    count: (name) => calls.filter((call) => call.name === name).length,
    close: () => server.close(),
    [Symbol.asyncDispose]: () => server.close(),
  };
  return node;
}

/** Sends back what comes. */
const echo: FrameHandler = (call) => ({
  frames(frames) {
    for (const frame of frames) call.send(frame);
  },
  end: () => call.end(),
});
