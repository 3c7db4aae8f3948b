import { GnmiClient } from "@tidemark/source-gnmi";
import { GnmiDevice } from "@tidemark/source-gnmi/testing";

// A real gNMI server over a real tree; point your own collector at its address.
await using device = await new GnmiDevice({ atomic: ["/acl"] }).listen({ port: 0 });
device.apply({ delete: ["/acl"], update: [{ path: "/acl/1/action", value: "permit" }] });

device.faults.refuseOnChange = true;
device.faults.slowMs = 5;
device.freeze();
device.thaw();
await device.restart((tree) => tree.apply({ delete: ["/acl/1"] }, 1n));

await using client = new GnmiClient({ address: device.address });
console.log((await client.capabilities()).models[0]?.name);
