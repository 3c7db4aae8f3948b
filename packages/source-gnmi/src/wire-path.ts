import { create } from "@bufbuild/protobuf";
import { type Path, PathSchema } from "./gen/gnmi/gnmi_pb.ts";
import { type GnmiPath, joinPaths, type PathElem, parsePath, pathElem, rootPath } from "./path.ts";

/** @throws {GnmiError} `PATH_INVALID` for elements of devices before gNMI 0.4 that are none. */
export function fromWirePath(path: Path | undefined): GnmiPath {
  if (path === undefined) return rootPath;
  const { origin, target, elem, element } = path;
  if (elem.length === 0 && element.length === 0 && origin === "" && target === "") return rootPath;
  const elems: readonly PathElem[] =
    elem.length > 0 || element.length === 0
      ? elem.map(({ name, key }) => pathElem(name, key))
      : element.flatMap((text) => parsePath(`/${text}`).elems);
  return { origin, target, elems };
}

export function toWirePath({ origin, target, elems }: GnmiPath): Path {
  const elem = elems.map(({ name, keys }) => ({ name, key: Object.fromEntries(keys) }));
  return create(PathSchema, { origin, target, elem });
}

/** The whole path of something in a message with a prefix. @throws {GnmiError} `PATH_INVALID`. */
export function wholePath(prefix: GnmiPath, path: Path | undefined): GnmiPath {
  return joinPaths(prefix, fromWirePath(path));
}
