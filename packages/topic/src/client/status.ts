import { Code, ConnectError } from "@connectrpc/connect";
import { type RetryClass, StreamError } from "@tidemark/stream";
import type { IssueMessage } from "../gen/ydb/issue_pb.ts";
import { StatusIds_StatusCode as Status } from "../gen/ydb/status_pb.ts";
import { TopicError } from "../topic-error.ts";

/** `idempotent`: it may have happened, so only what does no harm twice is tried again, soon. */
type Verdict = RetryClass | "idempotent";

/** What each status means for the next try. Streams are idempotent: what they resend is deduplicated or read again. */
const statusVerdicts: Readonly<Record<Status, Verdict>> = {
  [Status.STATUS_CODE_UNSPECIFIED]: "fatal",
  [Status.SUCCESS]: "fatal",
  [Status.UNAVAILABLE]: "fast",
  [Status.SESSION_EXPIRED]: "fast",
  [Status.CANCELLED]: "fast",
  [Status.BAD_SESSION]: "fast",
  [Status.SESSION_BUSY]: "fast",
  [Status.OVERLOADED]: "slow",
  [Status.ABORTED]: "slow",
  [Status.UNDETERMINED]: "idempotent",
  [Status.TIMEOUT]: "idempotent",
  [Status.BAD_REQUEST]: "fatal",
  [Status.UNAUTHORIZED]: "fatal",
  [Status.INTERNAL_ERROR]: "fatal",
  [Status.SCHEME_ERROR]: "fatal",
  [Status.GENERIC_ERROR]: "fatal",
  [Status.PRECONDITION_FAILED]: "fatal",
  [Status.ALREADY_EXISTS]: "fatal",
  [Status.NOT_FOUND]: "fatal",
  [Status.UNSUPPORTED]: "fatal",
  [Status.EXTERNAL_ERROR]: "fatal",
};

/** The same for calls that broke below the level of statuses. Unauthenticated is tried again with a new token (X17). */
const grpcVerdicts: Readonly<Record<Code, Verdict>> = {
  [Code.Unavailable]: "fast",
  [Code.Aborted]: "fast",
  [Code.Canceled]: "fast",
  [Code.Internal]: "idempotent",
  [Code.DeadlineExceeded]: "idempotent",
  [Code.ResourceExhausted]: "slow",
  [Code.Unauthenticated]: "fast",
  [Code.Unknown]: "fatal",
  [Code.InvalidArgument]: "fatal",
  [Code.NotFound]: "fatal",
  [Code.AlreadyExists]: "fatal",
  [Code.PermissionDenied]: "fatal",
  [Code.FailedPrecondition]: "fatal",
  [Code.OutOfRange]: "fatal",
  [Code.Unimplemented]: "fatal",
  [Code.DataLoss]: "fatal",
};

/** gRPC has one code for "too much just now" and "too large for ever"; servers say the latter in words (X18). */
const tooLarge = /larger than/i;

function verdictOf(error: unknown): Verdict {
  if (TopicError.is(error)) {
    const cause = error.cause;
    if (error.code === "STATUS") return statusVerdicts[statusNamed(error.status)] ?? "fatal";
    if (error.code === "TRANSPORT" && cause instanceof ConnectError) return verdictOf(cause);
    return error.retryClass;
  }
  if (StreamError.is(error)) return error.retryable ? "fast" : "fatal";
  if (!(error instanceof ConnectError)) return "fatal";
  if (error.code === Code.ResourceExhausted && tooLarge.test(error.rawMessage)) return "fatal";
  return grpcVerdicts[error.code] ?? "fatal";
}

const names: ReadonlyMap<number, string> = new Map(Object.entries(Status).map(([name, number]) => [number, name]));

function statusNamed(name: string | undefined): Status {
  return Status[(name ?? "") as keyof typeof Status] ?? Status.STATUS_CODE_UNSPECIFIED;
}

/** How soon what failed with `error` can be tried again, when it is idempotent, as a stream is. */
export function classifyError(error: unknown): RetryClass {
  const verdict = verdictOf(error);
  return verdict === "idempotent" ? "fast" : verdict;
}

/** The same for what must not happen twice: fatal when it may have happened. */
export function classifyOnce(error: unknown): RetryClass {
  const verdict = verdictOf(error);
  if (verdict === "idempotent") return "fatal";
  const code = grpcCodeOf(error);
  if (neverConnected.has(systemCodeOf(error))) return verdict;
  // A connection that broke may have carried the request.
  return code === Code.Unavailable || code === Code.Canceled || code === Code.Aborted ? "fatal" : verdict;
}

/** What Node says of connections that never came to be. */
const neverConnected: ReadonlySet<string | undefined> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

function systemCodeOf(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === "string" && code.startsWith("E")) return code;
  }
  return undefined;
}

export function isUnauthenticated(error: unknown): boolean {
  return grpcCodeOf(error) === Code.Unauthenticated;
}

/** Whether the endpoint itself seems not to be there. */
export function isConnectionError(error: unknown): boolean {
  const code = grpcCodeOf(error);
  return code === Code.Unavailable || code === Code.DeadlineExceeded;
}

function grpcCodeOf(error: unknown): Code | undefined {
  if (error instanceof ConnectError) return error.code;
  return TopicError.is(error) && error.cause instanceof ConnectError ? error.cause.code : undefined;
}

const longestMessage = 1000;

/** What the server said, issues within issues, in one line. */
function issuesText(issues: readonly IssueMessage[]): string {
  const texts: string[] = [];
  const walk = (list: readonly IssueMessage[], depth: number) => {
    for (const issue of list) {
      if (issue.message !== "")
        texts.push(issue.issueCode === 0 ? issue.message : `${issue.message} (${issue.issueCode})`);
      if (depth < 8) walk(issue.issues, depth + 1);
    }
  };
  walk(issues, 0);
  const text = texts.join("; ");
  return text.length > longestMessage ? `${text.slice(0, longestMessage)}…` : text;
}

/** The error that a status other than SUCCESS is. `what`: who said it about what, such as `StreamWrite of /local/orders`. */
export function statusError(what: string, status: Status, issues: readonly IssueMessage[]): TopicError {
  const name = names.get(status) ?? String(status);
  const verdict = statusVerdicts[status] ?? "fatal";
  const text = issuesText(issues);
  return new TopicError("STATUS", `${what}: ${name}${text === "" ? "" : `: ${text}`}`, {
    status: name,
    retryClass: verdict === "idempotent" ? "fast" : verdict,
  });
}

/** Wraps what connect throws, once, where it enters. Whatever else it is stays as it is. */
export function transportError(what: string, error: unknown): unknown {
  if (TopicError.is(error) || !(error instanceof ConnectError)) return error;
  return new TopicError("TRANSPORT", `${what}: ${error.message}`, { cause: error, retryClass: classifyError(error) });
}
