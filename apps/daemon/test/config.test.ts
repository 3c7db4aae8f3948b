import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { isLoopback, parseAddress, urlOf } from "../src/config/address.ts";
import { checkConfig } from "../src/config/config-schema.ts";
import { parseEtcdEndpoints } from "../src/config/etcd-endpoints.ts";
import { loadConfig } from "../src/config/load-config.ts";
import { resolveSettings } from "../src/config/settings.ts";
import { redact, rememberSecret } from "../src/redact.ts";

const folder = mkdtempSync(join(tmpdir(), "tidemark-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** The real module loader: the test runner's own would resolve and compile differently. */
async function loadInNode(file: string): Promise<string> {
  const script = `import { loadConfig } from ${JSON.stringify(new URL("../src/config/load-config.ts", import.meta.url).href)};
    console.log(await loadConfig(${JSON.stringify(file)}).then(({ config }) => JSON.stringify(config), (error) => error.message));`;
  const args = ["--conditions=@tidemark/source", "--input-type=module", "--eval", script];
  return (await promisify(execFile)(process.execPath, args)).stdout.trim();
}

const problemsOf = (value: unknown) => {
  const result = checkConfig(value);
  return "problems" in result ? result.problems.map(({ problem, fix }) => `${problem} ${fix ?? ""}`.trim()) : [];
};

test("accepts every setting", () => {
  const config = {
    dataDir: "/tmp/x",
    listen: "127.0.0.1:1",
    watchListen: "[::1]:2",
    topicsPublicHost: "topics.example.org",
    topicsAuth: {
      users: [
        { name: "ops", password: "s3cret", tokens: [{ env: "OPS" }, { file: "/run/ops" }], rights: "all" },
        { name: "shop", tokens: ["t0ken"], rights: [{ topic: "/local/*", can: ["read", "write", "manage"] }] },
      ],
      anonymous: [],
      tokenLifetimeMs: 60_000,
    },
    topicsTls: { certFile: "c.pem", keyFile: "k.pem", clientCaFile: "ca.pem" },
    insecure: false,
    hosts: ["tidemark.example.org"],
    logLevel: "debug",
    store: true,
    sources: [
      {
        kind: "etcd",
        name: "a",
        endpoints: ["http://a:2379"],
        prefix: "/x",
        username: "root",
        password: "s3cret",
        tls: { caFile: "ca.pem", certFile: "c.pem", keyFile: "k.pem" },
      },
      { kind: "watch", url: "http://127.0.0.1:4651", prefix: "a" },
    ],
    history: { synchronous: "full" },
    stopTimeoutMs: 500,
  };
  expect(problemsOf(config)).toEqual([]);
  expect(checkConfig(config)).toEqual({ config });
});

test("an unknown key is named, with the nearest known one", () => {
  expect(problemsOf({ lisen: "127.0.0.1:1" })).toEqual([
    expect.stringMatching(/^`lisen` is not a setting\. Did you mean `listen`\? Known here: .*dataDir/),
  ]);
  expect(problemsOf({ sources: [{ kind: "etcd", endpoints: ["http://a:1"], pasword: "hunter22" }] })).toEqual([
    expect.stringMatching(/^`sources\[0\]\.pasword` is not a setting\. Did you mean `password`\?/),
  ]);
  expect(problemsOf({ sources: [{ kind: "watch", url: "http://a:1", endpoints: [] }] })[0]).toMatch(
    /Known here: kind, name, url, prefix/,
  );
  expect(problemsOf({ history: { sync: "full" } })[0]).toMatch(/^`history\.sync` is not a setting\..*synchronous/);
});

test("a wrong type names the key, what is expected and what came", () => {
  expect(problemsOf({ listen: 4650 })).toEqual([
    '`listen` must be an address such as "127.0.0.1:4650", got number 4650.',
  ]);
  expect(problemsOf({ logLevel: "loud" })).toEqual([
    '`logLevel` must be "trace", "debug", "info", "warn", "error" or "silent", got "loud".',
  ]);
  expect(problemsOf({ stopTimeoutMs: 5 })).toEqual([
    "`stopTimeoutMs` must be at least 100 milliseconds, got number 5.",
  ]);
  expect(problemsOf({ sources: { kind: "etcd" } })[0]).toMatch(
    /^`sources` must be a list such as .*, got an object\.$/,
  );
  expect(problemsOf({ sources: [{ kind: "zookeeper" }] })[0]).toMatch(
    /^`sources\[0\].*` must be an object with kind: "etcd", "gnmi", "catalog" or "watch", got/,
  );
  expect(problemsOf({ sources: [{ kind: "etcd" }] })[0]).toMatch(/^`sources\[0\]\.endpoints` is missing\./);
  expect(problemsOf("x")[0]).toMatch(/^The configuration must be an object/);
});

test("what is wrong with a password or endpoint never shows it", () => {
  const problems = problemsOf({
    sources: [{ kind: "etcd", endpoints: "http://root:hunter22@a", password: ["hunter22"] }],
  });
  expect(problems.join("\n")).toMatch(/endpoints/);
  expect(problems.join("\n")).not.toContain("hunter22");
});

test("loads TypeScript with defineConfig, JavaScript and JSON", async () => {
  const ts = write(
    "typed.config.ts",
    'import { defineConfig, type TidemarkConfig } from "@tidemark/daemon";\nconst port: number = 1;\nexport default defineConfig({ listen: `127.0.0.1:${port}`, dataDir: "data" } satisfies TidemarkConfig);\n',
  );
  expect(JSON.parse(await loadInNode(ts))).toEqual({ listen: "127.0.0.1:1", dataDir: join(folder, "data") });
  const mjs = write("plain.mjs", 'export default { logLevel: "debug" };\n');
  expect((await loadConfig(mjs)).config).toEqual({ logLevel: "debug" });
  const json = write("plain.json", '{"store": true}');
  expect((await loadConfig(json)).config).toEqual({ store: true });
});

test("finds tidemark.config.* in the working directory, or does without", async () => {
  const here = join(folder, "here");
  mkdirSync(here);
  expect(await loadConfig(undefined, here)).toEqual({ config: {}, file: undefined });
  writeFileSync(join(here, "tidemark.config.json"), '{"listen":"127.0.0.1:9"}');
  expect((await loadConfig(undefined, here)).config.listen).toBe("127.0.0.1:9");
});

test("a file that cannot be used says why", async () => {
  await expect(loadConfig("nowhere.ts", folder)).rejects.toThrow(/There is no configuration file nowhere\.ts/);
  await expect(loadConfig(write("broken.json", "{"))).rejects.toThrow(/broken\.json could not be read/);
  await expect(loadConfig(write("none.mjs", "export const a = 1;\n"))).rejects.toThrow(/exports nothing.*defineConfig/);
  expect(await loadInNode(write("enum.ts", "enum A { B }\nexport default {};\n"))).toMatch(/only strips types/);
  await expect(loadConfig(write("throws.mjs", 'throw new Error("no such file ca.pem");\n'))).rejects.toThrow(
    /no such file ca\.pem/,
  );
  await expect(loadConfig(write("two.json", '{"a":1,"listen":2}'))).rejects.toThrow(
    /`listen` must be[^]*`a` is not a setting/,
  );
});

test("addresses are read and loopback is recognised", () => {
  expect(parseAddress("127.0.0.1:4650", "--listen")).toEqual({ host: "127.0.0.1", port: 4650 });
  expect(parseAddress("4650", "--listen")).toEqual({ host: "127.0.0.1", port: 4650 });
  expect(parseAddress("[::1]:0", "--listen")).toEqual({ host: "::1", port: 0 });
  for (const text of ["", "host", "host:port", "1.2.3.4:70000", "::1:80", "http://a:1", "[x]:1"]) {
    expect(() => parseAddress(text, "--listen"), text).toThrow(/--listen must be HOST:PORT/);
  }
  expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].map(isLoopback)).toEqual([true, true, true, true]);
  expect(["0.0.0.0", "::", "10.0.0.1", "example.org", "::ffff:10.0.0.1"].map(isLoopback)).toEqual([
    false,
    false,
    false,
    false,
    false,
  ]);
  expect(urlOf({ host: "0.0.0.0", port: 1 })).toBe("http://127.0.0.1:1");
  expect(urlOf({ host: "::", port: 1 })).toBe("http://[::1]:1");
});

const topicsOf = (topicsAuth: unknown, env: Readonly<Record<string, string>> = {}) =>
  resolveSettings({ topicsAuth } as never, {}, env).topics?.auth;

test("a user's secrets come from the environment, from files beside the configuration, or from itself", async () => {
  const file = write(
    "topics.json",
    JSON.stringify({
      topicsAuth: {
        users: [
          { name: "a", password: { env: "A" }, rights: "all" },
          { name: "b", tokens: ["inline-token", { file: "b.token" }], rights: [{ topic: "/local/b", can: ["read"] }] },
        ],
      },
      topicsTls: { certFile: "cert.pem", keyFile: "key.pem" },
    }),
  );
  write("b.token", "file-token\r\n");
  const { config } = await loadConfig(file);
  expect(config.topicsTls).toEqual({ certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") });
  expect(topicsOf(config.topicsAuth, { A: "from-the-environment" })).toEqual({
    users: [
      { name: "a", password: "from-the-environment", tokens: [], rights: "all" },
      { name: "b", tokens: ["inline-token", "file-token"], rights: [{ topic: "/local/b", can: ["read"] }] },
    ],
  });
  expect(redact("inline-token file-token from-the-environment")).toBe("*** *** ***");
});

test("users that contradict each other, and secrets that are not there, are refused without a word of them", () => {
  const user = (more: object) => ({ name: "a", tokens: ["hunter22"], rights: "all", ...more });
  const refused = (users: readonly object[], message: RegExp) => {
    let said = "";
    try {
      topicsOf({ users });
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toMatch(message);
    expect(said).not.toContain("hunter22");
  };
  refused([user({}), user({ tokens: ["x"] })], /users\[1\]\.name`: there are two users "a"/);
  refused([user({}), user({ name: "b" })], /users\[1\]\.tokens\[0\]` is the same as `topicsAuth\.users\[0\]/);
  refused([user({ tokens: [] })], /neither a password nor tokens/);
  refused([user({ password: { env: "NOWHERE" } })], /password` is empty.*environment variable NOWHERE/);
  refused([user({ password: { file: "/nowhere/at/all" } })], /\/nowhere\/at\/all cannot be read \(ENOENT\)/);
  expect(() => resolveSettings({ topicsTls: { certFile: "/nowhere", keyFile: "/nowhere" } }, {}, {})).toThrow(
    /topicsTls\.certFile`: \/nowhere cannot be read/,
  );
  const noKey = write("no.key", "not a key");
  expect(() => resolveSettings({ topicsTls: { certFile: noKey, keyFile: noKey } }, {}, {})).toThrow(
    /its files do not make a server.*PEM/,
  );
});

test("what is wrong with a user is named, and its secrets are not", () => {
  const problems = (user: object) => problemsOf({ topicsAuth: { users: [{ name: "a", rights: "all", ...user }] } });
  expect(problems({ pasword: "hunter22" })[0]).toMatch(
    /users\[0\]\.pasword` is not a setting\. Did you mean `password`/,
  );
  expect(problems({ tokens: "hunter22" })[0]).toMatch(/tokens` must be a list such as .*, got string/);
  expect(problems({ tokens: [{ evn: "hunter22" }] })[0]).toMatch(
    /tokens\[0\]` must be text, \{ env: .*, got an object/,
  );
  expect(problems({ rights: "everything" })[0]).toMatch(/rights` must be "all" or a list such as/);
  for (const topic of ["orders", "/local", "/local/", "/elsewhere/a", "/local/*/a", "*"]) {
    expect(problems({ rights: [{ topic, can: ["read"] }] })[0], topic).toMatch(/topic` must be a path such as/);
  }
  expect(problems({ rights: [{ topic: "/local/a", can: ["admin"] }] })[0]).toMatch(
    /must be "read", "write" or "manage"/,
  );
  expect(problems({ rights: [{ topic: "/local/a", may: ["read"] }] }).join("\n")).toMatch(/Known here: topic, can/);
  expect(problemsOf({ topicsAuth: { users: [] } })[0]).toMatch(/users` must be a list of at least one user/);
  expect(problemsOf({ topicsTls: { certFile: "a" } })[0]).toMatch(/`topicsTls\.keyFile` is missing/);
});

test("an address that others can reach needs --insecure", () => {
  expect(() => resolveSettings({}, { listen: "0.0.0.0:4650" }, {})).toThrow(
    /--listen 0\.0\.0\.0:4650 can be reached.*--insecure/,
  );
  expect(() => resolveSettings({ watchListen: "example.org:1" }, {}, {})).toThrow(/`watchListen` example\.org:1/);
  expect(resolveSettings({}, { listen: "0.0.0.0:4650", insecure: true }, {}).listen.host).toBe("0.0.0.0");
});

test("flags override the configuration, which overrides the defaults", () => {
  const config = {
    listen: "127.0.0.1:1",
    dataDir: "/a",
    sources: [{ kind: "watch", url: "http://127.0.0.1:9" }],
  } as const;
  const settings = resolveSettings(config, { listen: "127.0.0.1:2", etcd: "http://a:2379,http://b", prefix: "/x" }, {});
  expect(settings).toMatchObject({
    listen: { port: 2 },
    dataDir: "/a",
    hasStore: false,
    sources: [{ kind: "etcd", endpoints: ["http://a:2379", "http://b:2379"], prefix: "/x" }],
    watchListen: { port: 4651 },
  });
  expect(resolveSettings({}, {}, {})).toMatchObject({ hasStore: true, sources: [] });
  expect(resolveSettings({ ...config, store: true }, {}, {})).toMatchObject({
    hasStore: true,
    sources: [{ name: "watch" }],
  });
});

test("settings that contradict each other are refused", () => {
  expect(() => resolveSettings({ store: false }, {}, {})).toThrow(/nothing to follow/);
  expect(() => resolveSettings({}, { prefix: "/x" }, {})).toThrow(/there is no --etcd/);
  const twin = { kind: "watch", url: "http://127.0.0.1:9" } as const;
  expect(() => resolveSettings({ sources: [twin, twin] }, {}, {})).toThrow(/Two streams are called "watch"/);
  expect(() => resolveSettings({}, { listen: "127.0.0.1:7", watchListen: "127.0.0.1:7" }, {})).toThrow(
    /different ports/,
  );
});

test("user and password leave the etcd URLs at the door", () => {
  expect(parseEtcdEndpoints(["http://root:p%40ss@a:1", "https://b:443/"], "--etcd")).toEqual({
    endpoints: ["http://a:1", "https://b:443"],
    username: "root",
    password: "p@ss",
  });
  const env = { TIDEMARK_ETCD_USERNAME: "root", TIDEMARK_ETCD_PASSWORD: "s3cret-env" };
  expect(resolveSettings({}, { etcd: "http://a" }, env).sources[0]).toMatchObject({
    username: "root",
    password: "s3cret-env",
  });
  expect(() => resolveSettings({}, { etcd: "http://a" }, { TIDEMARK_ETCD_PASSWORD: "s3cret-env" })).toThrow(
    /a password but no user/,
  );
});

test("a mistyped etcd URL is refused without repeating it", () => {
  const wrong = [
    "http//root:hunter22@a",
    "ftp://root:hunter22@a",
    "http://root:hunter22@a/path",
    "http://root:hun%ter22@a",
    "root:hunter22@",
  ];
  for (const url of wrong) {
    expect(() => parseEtcdEndpoints(["http://ok:1", url], "--etcd"), url).toThrow(
      /^\[USAGE\] --etcd: endpoint 2 (?!.*(hunter22|hun%))/,
    );
  }
});

test("secrets are masked in every form, in any text", () => {
  rememberSecret("tr0ub4dor&3");
  expect(redact("dial http://root:anything@host:1/x failed")).toBe("dial http://***@host:1/x failed");
  expect(redact("password tr0ub4dor&3")).toBe("password ***");
  expect(redact(`encoded ${encodeURIComponent("tr0ub4dor&3")}`)).toBe("encoded ***");
  expect(redact("mail a@b.c")).toBe("mail a@b.c");
});
