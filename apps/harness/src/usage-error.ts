/** The command line asks for something that there is not; its message says what there is. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
