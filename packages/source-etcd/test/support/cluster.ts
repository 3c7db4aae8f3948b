import { freePorts } from "@tidemark/tooling/ports";
import { startEtcd, type TestEtcd } from "../../src/testing.ts";

/** Three members that know each other. */
export class TestCluster {
  readonly members: readonly TestEtcd[];

  constructor(members: readonly TestEtcd[]) {
    this.members = members;
  }

  get endpoints(): string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member[Symbol.asyncDispose]()));
  }
}

export async function startCluster(): Promise<TestCluster> {
  const peerPorts = await freePorts(3);
  const cluster = peerPorts.map((port, index) => `m${index}=http://127.0.0.1:${port}`).join(",");
  const timing = ["--heartbeat-interval=50", "--election-timeout=500"];
  // Each of them serves once there are two.
  const members = await Promise.all(
    peerPorts.map((peerPort, index) =>
      startEtcd({ peerPort, args: [`--name=m${index}`, `--initial-cluster=${cluster}`, ...timing] }),
    ),
  );
  return new TestCluster(members);
}
