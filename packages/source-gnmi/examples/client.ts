import { formatPath, GnmiClient } from "@tidemark/source-gnmi";
import { GnmiDevice } from "@tidemark/source-gnmi/testing";

await using device = await new GnmiDevice().listen();
device.set("/system/config/hostname", "r1");
const { address } = device;

await using client = new GnmiClient({ address });
const { version, encodings } = await client.capabilities();
console.log(version, encodings.join(" "));

await client.set({ update: [{ path: "/system/config/hostname", value: "r2" }] });
const [answer] = await client.get({ paths: ["/system"] });
console.log(answer?.updates[0]?.value);

for await (const event of client.subscribe({ subscriptions: [{ path: "/" }], encoding: "proto" })) {
  if (event.type === "sync") break;
  if (event.type !== "notification") continue;
  for (const { path, value } of event.notification.updates) console.log(formatPath(path), value);
}
