import { once } from "node:events";
import { createServer } from "node:net";
import { type Address, formatAddress } from "../../config/address.ts";
import { listenError } from "../http-server.ts";

/** Listens there for a moment. */
export async function checkPort(address: Address, flag: string, isRunning: boolean): Promise<string> {
  const server = createServer();
  try {
    server.listen(address.port, address.host);
    await once(server, "listening");
  } catch (error) {
    const failure = listenError(error, address, flag);
    if (isRunning && failure.code === "ADDRESS_IN_USE")
      return `${formatAddress(address)} has the daemon that is running`;
    throw failure;
  }
  await new Promise((resolve) => server.close(resolve));
  if (address.port === 0) return `${formatAddress(address)}: any free port`;
  return `${formatAddress(address)} is free`;
}
