// The real services some tests need, and whether this machine has them.

import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Failure } from "./toolchain.mjs";

const services = {
  etcd: { programs: ["etcd", "etcdctl"], install: "apt-get install etcd-server etcd-client" },
  chromium: { programs: ["chromium"], install: "apt-get install chromium" },
  postgres: { programs: ["postgres", "initdb"], install: "apt-get install postgresql" },
  // Debian's own interpreter: its packages are for no other.
  "python-grpcio": {
    programs: [],
    files: ["/usr/lib/python3/dist-packages/grpc/__init__.py", "/usr/lib/python3/dist-packages/grpc_tools/__init__.py"],
    install: "apt-get install python3-grpcio python3-grpc-tools",
  },
  mariadb: { programs: ["mariadbd", "mariadb-install-db"], install: "apt-get install mariadb-server" },
};

/** Where Debian keeps servers, which are not for everybody's PATH. */
function moreFolders() {
  const versions = "/usr/lib/postgresql";
  const found = existsSync(versions) ? readdirSync(versions) : [];
  return ["/usr/sbin", ...found.map((version) => join(versions, version, "bin"))];
}

function isThere(program) {
  const names = process.platform === "win32" ? [`${program}.exe`, `${program}.cmd`] : [program];
  return [...(process.env.PATH ?? "").split(delimiter), ...moreFolders()].some((folder) =>
    names.some((name) => {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }),
  );
}

/** The services found, comma-separated, as the tests read them from TIDEMARK_SERVICES. */
export function findServices() {
  const required = (process.env.TIDEMARK_REQUIRE_SERVICES ?? "").split(",").filter((name) => name !== "");
  const unknown = required.filter((name) => !(name in services));
  if (unknown.length > 0) {
    throw new Failure(
      `TIDEMARK_REQUIRE_SERVICES must name ${Object.keys(services).join(" or ")}, got "${unknown.join(",")}".`,
    );
  }
  const missing = (name) => [
    ...services[name].programs.filter((program) => !isThere(program)),
    ...(services[name].files ?? []).filter((file) => !existsSync(file)),
  ];
  for (const name of required) {
    const programs = missing(name);
    if (programs.length === 0) continue;
    throw new Failure(
      `TIDEMARK_REQUIRE_SERVICES names ${name}, but there is no ${programs.join(" and no ")}. On Debian: ${services[name].install}`,
    );
  }
  return Object.keys(services)
    .filter((name) => missing(name).length === 0)
    .join(",");
}
