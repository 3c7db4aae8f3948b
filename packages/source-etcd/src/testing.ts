export { EtcdClient, type EtcdClientOptions, type EtcdWrite } from "./etcd-client.ts";
export { type StartEtcdOptions, startEtcd, TestEtcd, type TestEtcdUser } from "./testing/start-etcd.ts";
export { TcpProxy, type TcpProxyOptions, type TcpProxyStats, tcpProxy } from "./testing/tcp-proxy.ts";
