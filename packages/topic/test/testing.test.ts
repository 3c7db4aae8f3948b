import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createStreamClient } from "../src/testing.ts";
import { roundTrip } from "./support/stream.ts";

test("is a client over streams of the test's own", async () => {
  await using client = createStreamClient({
    stream: () => ({ start: (outgoing) => outgoing, cancel: () => {} }),
    methods: { dropTopic: async () => {} },
  });
  expect(await roundTrip(client.stream("read"), Uint8Array.of(1))).toEqual(Uint8Array.of(1));
  expect(await client.token()).toBeUndefined();
  expect(client.classify(new ConnectError("gone", Code.Unavailable))).toBe("fast");
  await client.dropTopic("orders");
  expect(() => client.describeTopic("orders")).toThrow("methods.describeTopic");
});
