import { StatusCode } from "@tidemark/topic/internal";
import { TopicServerError } from "../topic-server-error.ts";

/** What a client is told when it does not get what it asked for: a status of YDB and a sentence. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: StatusCode;

  constructor(status: StatusCode, message: string) {
    super(message);
    this.status = status;
  }
}

/** Failures of the store as clients see them. What is none of ours is not shown to them. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (!TopicServerError.is(error)) return new Refusal(StatusCode.INTERNAL_ERROR, "The server failed unexpectedly");
  switch (error.code) {
    case "DISK_FULL":
      return new Refusal(StatusCode.OVERLOADED, "There is no room on the server's disk; what was acknowledged is safe");
    case "DISK_FAILED":
      return new Refusal(StatusCode.UNAVAILABLE, "The server's disk failed");
    case "CLOSED":
    case "LOCKED":
      return new Refusal(StatusCode.UNAVAILABLE, "The server is closing");
    case "CORRUPT":
      return new Refusal(StatusCode.INTERNAL_ERROR, "Stored messages are damaged; the server's operator can see where");
    case "OPTIONS_INVALID":
      return new Refusal(StatusCode.BAD_REQUEST, error.message);
  }
}
