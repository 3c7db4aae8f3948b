export type { EtcdTls } from "./endpoint.ts";
export { EtcdError, type EtcdErrorCode } from "./etcd-error.ts";
export { etcdSource } from "./etcd-source.ts";
export { type EtcdSourceOptions, etcdSourceDefaults } from "./options.ts";
export type { EtcdCredentials } from "./token-source.ts";
