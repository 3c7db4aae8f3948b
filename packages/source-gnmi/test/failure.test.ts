import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { toGnmiError } from "../src/failure.ts";

const endpoint = { origin: "https://r1:9339", name: "r1:9339", isTls: true };

test("a secret is left out of what a device says also where that is cut short", () => {
  const secret = "correct-horse-battery";
  for (let before = 470; before <= 510; before++) {
    const said = new ConnectError(`${"x".repeat(before)}${secret} is wrong`, Code.Unauthenticated);
    expect(toGnmiError(said, endpoint, [secret]).detail).not.toContain("correc");
  }
});
