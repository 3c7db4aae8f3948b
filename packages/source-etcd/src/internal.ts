export { EtcdClient, type EtcdClientOptions, type EtcdWrite } from "./etcd-client.ts";
