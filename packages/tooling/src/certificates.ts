import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export interface Issued {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority of our own, in a temporary folder. */
export class Authority {
  readonly folder: string;
  readonly caFile: string;
  ca = "";

  private constructor(folder: string) {
    this.folder = folder;
    this.caFile = join(folder, "ca.pem");
  }

  static async create(): Promise<Authority> {
    const authority = new Authority(await mkdtemp(join(tmpdir(), "tidemark-ca-")));
    const keyFile = join(authority.folder, "ca.key");
    const subject = ["-subj", "/CN=tidemark test authority", "-days", "2"];
    await openssl("req", "-x509", ...newKey, "-keyout", keyFile, "-out", authority.caFile, ...subject);
    authority.ca = await readFile(authority.caFile, "utf8");
    return authority;
  }

  /** @param names such as `IP:127.0.0.1` or `DNS:localhost`. */
  async issue(name: string, names: string): Promise<Issued> {
    const file = (ending: string) => join(this.folder, `${name}.${ending}`);
    await writeFile(file("ext"), `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    await openssl("req", ...newKey, "-keyout", file("key"), "-out", file("csr"), "-subj", `/CN=${name}`);
    const ca = ["-CA", this.caFile, "-CAkey", join(this.folder, "ca.key"), "-CAcreateserial"];
    await openssl(
      "x509",
      "-req",
      "-in",
      file("csr"),
      ...ca,
      "-out",
      file("pem"),
      "-days",
      "2",
      "-extfile",
      file("ext"),
    );
    const [cert, key] = await Promise.all([readFile(file("pem"), "utf8"), readFile(file("key"), "utf8")]);
    return { certFile: file("pem"), keyFile: file("key"), cert, key };
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

async function openssl(...args: readonly string[]): Promise<void> {
  await run("openssl", [...args]);
}
