import { Code, ConnectError } from "@connectrpc/connect";
import { StatusCode } from "@tidemark/topic/internal";
import { TopicServerError } from "../topic-server-error.ts";

/** What a client is told when it does not get what it asked for: a status of YDB and a sentence. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: StatusCode;
  /** What else it is known by; 0: nothing. */
  readonly issueCode: number;

  constructor(status: StatusCode, message: string, issueCode = 0) {
    super(message);
    this.status = status;
    this.issueCode = issueCode;
  }
}

/**
 * Who it is, is not known: a status of gRPC and not of YDB, which is what makes clients get a new token and try again.
 * UNAUTHORIZED is for who is known and may not, and there a client gives up.
 */
export function unauthenticated(message: string): ConnectError {
  return new ConnectError(message, Code.Unauthenticated);
}

/** `Ydb.PersQueue.ErrorCode.WRITE_ERROR_PARTITION_INACTIVE` */
const partitionInactive = 500029;

/**
 * YDB opens no session on a partition that was split or merged, and ends those that are open. OVERLOADED is also what a
 * busy server says: SDKs look for the number to tell one from the other, and then describe the topic anew.
 *
 * From YDB's source: `TSMPartitionChooserActor` in core/persqueue/writer refuses such a partition with
 * WRITE_ERROR_PARTITION_INACTIVE, `ConvertPersQueueInternalCodeToStatus` in services/persqueue_v1/actors/persqueue_utils
 * makes that OVERLOADED, and `FillIssue` there puts the number into the issue.
 */
export function inactivePartition(id: number): Refusal {
  return new Refusal(StatusCode.OVERLOADED, `Partition ${id} is inactive: it was split`, partitionInactive);
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
