import { ConnectError, type ConnectRouter } from "@connectrpc/connect";
import {
  AuthService,
  authWire,
  DiscoveryService,
  discoveryWire,
  QueryService,
  type queryWire,
  SchemeService,
  schemeWire,
  StatusCode,
  TableService,
  tableWire,
  valueWire,
} from "@tidemark/topic/internal";
import { issue, operation, succeeded } from "./messages.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Service } from "./service.ts";
import { entry } from "./describe.ts";
import { isFolder } from "./topic-routes.ts";

/** Where clients reach this server. */
export interface PublicEndpoint {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

/** What clients call besides TopicService. */
export function otherRoutes(router: ConnectRouter, service: Service, endpoint: () => PublicEndpoint): void {
  discoveryRoutes(router, service, endpoint);
  authRoutes(router, service);
  schemeRoutes(router, service);
  tableRoutes(router, service);
  queryRoutes(router, service);
}

function discoveryRoutes(router: ConnectRouter, { access }: Service, endpoint: () => PublicEndpoint): void {
  router.rpc(DiscoveryService.method.listEndpoints, (_request, { requestHeader }) =>
    operation(() => {
      access.identify(requestHeader);
      const { host, port, isTls } = endpoint();
      const self = { address: host, port, ssl: isTls, location: "local", nodeId: 1, loadFactor: 0 };
      const result = { endpoints: [self], selfLocation: "local" };
      return succeeded(discoveryWire.ListEndpointsResultSchema, result);
    }),
  );
  router.rpc(DiscoveryService.method.whoAmI, (_request, { requestHeader }) =>
    operation(() => succeeded(discoveryWire.WhoAmIResultSchema, { user: access.identify(requestHeader).user })),
  );
}

function authRoutes(router: ConnectRouter, { access }: Service): void {
  router.rpc(AuthService.method.login, ({ user, password }) =>
    operation(() => succeeded(authWire.LoginResultSchema, { token: access.login(user, password) })),
  );
}

function schemeRoutes(router: ConnectRouter, service: Service): void {
  const { access, store, database } = service;
  const folder = (path: string) => {
    const type = path === database ? schemeWire.Entry_Type.DATABASE : schemeWire.Entry_Type.DIRECTORY;
    return { name: path.slice(path.lastIndexOf("/") + 1), owner: "root", type };
  };
  const describe = (path: string) => {
    const topic = store.topic(path);
    if (topic !== undefined) return entry(topic);
    if (path === database || isFolder(service, path)) return folder(path);
    throw new Refusal(StatusCode.SCHEME_ERROR, `There is nothing at ${path}`);
  };
  router.rpc(SchemeService.method.describePath, ({ path }, { requestHeader }) =>
    operation(() => {
      access.identify(requestHeader);
      const self = describe(service.absolute(path, requestHeader));
      return succeeded(schemeWire.DescribePathResultSchema, { self });
    }),
  );
  router.rpc(SchemeService.method.listDirectory, ({ path }, { requestHeader }) =>
    operation(() => {
      access.identify(requestHeader);
      const parent = service.absolute(path, requestHeader);
      const self = describe(parent);
      const names = new Set<string>();
      for (const topic of store.topics()) {
        if (topic.path.startsWith(`${parent}/`)) names.add(topic.path.slice(parent.length + 1).split("/")[0] as string);
      }
      const children = [...names].map((name) => describe(`${parent}/${name}`));
      return succeeded(schemeWire.ListDirectoryResultSchema, { self, children });
    }),
  );
  // Directories are there when something is in them.
  const nothing = (requestHeader: Headers) =>
    operation(() => {
      access.identify(requestHeader);
      return succeeded(schemeWire.DescribePathResultSchema, {});
    });
  router.rpc(SchemeService.method.makeDirectory, (_request, { requestHeader }) => nothing(requestHeader));
  router.rpc(SchemeService.method.removeDirectory, (_request, { requestHeader }) => nothing(requestHeader));
}

/** Drivers open a session at their start, and some take the process down when they cannot. There are no tables. */
function tableRoutes(router: ConnectRouter, { access, rng }: Service): void {
  router.rpc(TableService.method.createSession, (_request, { requestHeader }) =>
    operation(() => {
      access.identify(requestHeader);
      return succeeded(tableWire.CreateSessionResultSchema, {
        sessionId: `ydb://session/3?node_id=1&id=${rng.uuid()}`,
      });
    }),
  );
  router.rpc(TableService.method.deleteSession, () =>
    operation(() => succeeded(tableWire.KeepAliveResultSchema, { sessionStatus: 1 })),
  );
  router.rpc(TableService.method.keepAlive, () =>
    operation(() => succeeded(tableWire.KeepAliveResultSchema, { sessionStatus: 1 })),
  );
}

const success = { status: StatusCode.SUCCESS };
/** `SELECT 1`, and the name that it is asked to have. */
const selectOne = /^\s*select\s+1(?:\s+as\s+(?:`([^`]+)`|(\w+)))?\s*;?\s*$/i;
const readsOnly = new Set(["onlineReadOnly", "staleReadOnly"]);

/** As in YDB: what only reads has no transaction that stays open. @throws {Refusal} `BAD_REQUEST` */
function checkMode(settings: queryWire.TransactionSettings | undefined): void {
  if (!readsOnly.has(settings?.txMode.case ?? "")) return;
  throw new Refusal(StatusCode.BAD_REQUEST, "A transaction that only reads online or stale data cannot be begun");
}

function failure(error: unknown) {
  if (error instanceof ConnectError) throw error;
  const { status, message } = refusalOf(error);
  return { status, issues: [issue(message)] };
}

function queryRoutes(router: ConnectRouter, service: Service): void {
  const { access, transactions } = service;
  const { sessions } = transactions;
  const { method } = QueryService;
  router.rpc(method.createSession, (_request, { requestHeader }) => {
    try {
      access.identify(requestHeader);
      return { ...success, sessionId: sessions.open(), nodeId: 1n };
    } catch (error) {
      return failure(error);
    }
  });
  router.rpc(method.deleteSession, ({ sessionId }) => {
    sessions.close(sessionId);
    return success;
  });
  router.rpc(method.attachSession, async function* ({ sessionId }, { signal }) {
    if (!sessions.attach(sessionId)) {
      yield failure(new Refusal(StatusCode.BAD_SESSION, "The session is unknown or over"));
      return;
    }
    // The session lives as long as its client listens, also to the first word, and the server.
    const over = Promise.withResolvers<unknown>();
    const forget = service.addSession(over.resolve);
    const leave = () => {
      forget();
      sessions.close(sessionId);
      over.resolve(undefined);
    };
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
    yield success;
    const error = await over.promise;
    leave();
    if (error !== undefined) yield failure(error);
  });
  router.rpc(method.beginTransaction, ({ sessionId, txSettings }) => {
    try {
      checkMode(txSettings);
      return { ...success, txMeta: { id: transactions.begin(sessionId) } };
    } catch (error) {
      return failure(error);
    }
  });
  router.rpc(method.commitTransaction, async ({ sessionId, txId }) => {
    try {
      await transactions.commit(sessionId, txId);
      return success;
    } catch (error) {
      return failure(error);
    }
  });
  router.rpc(method.rollbackTransaction, ({ sessionId, txId }) => {
    try {
      transactions.rollback(sessionId, txId);
      return success;
    } catch (error) {
      return failure(error);
    }
  });
  router.rpc(method.executeQuery, async function* ({ sessionId, query, txControl }) {
    try {
      const asked = selectOne.exec(query.value?.text ?? "");
      if (asked === null) {
        throw new Refusal(StatusCode.UNSUPPORTED, "This server has topics and no tables; of queries it knows SELECT 1");
      }
      const selector = txControl?.txSelector;
      if (selector?.case === "beginTx" && txControl?.commitTx !== true) checkMode(selector.value);
      const id = selector?.case === "txId" ? selector.value : "";
      const begun = selector?.case === "beginTx" ? transactions.begin(sessionId) : id;
      if (txControl?.commitTx === true && begun !== "") await transactions.commit(sessionId, begun);
      const int32 = { type: { case: "typeId" as const, value: valueWire.Type_PrimitiveTypeId.INT32 } };
      yield {
        ...success,
        resultSet: {
          columns: [{ name: asked[1] ?? asked[2] ?? "column0", type: int32 }],
          rows: [{ items: [{ value: { case: "int32Value" as const, value: 1 } }] }],
        },
        ...(begun === "" || txControl?.commitTx === true ? {} : { txMeta: { id: begun } }),
      };
    } catch (error) {
      yield failure(error);
    }
  });
}
