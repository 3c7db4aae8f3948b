export type { EtcdTls } from "./endpoint.ts";
export { EtcdError, type EtcdErrorCode } from "./etcd-error.ts";
export { type EtcdSink, type EtcdSinkOptions, type EtcdSinkWrite, etcdSink, etcdSinkDefaults } from "./etcd-sink.ts";
export { etcdSource } from "./etcd-source.ts";
export { type EtcdSourceOptions, etcdSourceDefaults } from "./options.ts";
export type { EtcdCredentials } from "./token-source.ts";
