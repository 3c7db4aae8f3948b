/** Who we are to etcd. */
export interface EtcdCredentials {
  readonly user: string;
  readonly password: string;
}

/**
 * The token of one user, shared by all connections of a source. Getting one is dear for etcd (it hashes the password
 * slowly, on purpose), so everybody uses the same until etcd calls it invalid, and only one call asks for the next.
 */
export class TokenSource {
  readonly credentials: EtcdCredentials;
  #token: string | undefined;
  #pending: Promise<string> | undefined;

  constructor(credentials: EtcdCredentials) {
    this.credentials = credentials;
  }

  /** The token, from `authenticate` if there is none. Empty: this etcd has authentication switched off. */
  token(authenticate: (credentials: EtcdCredentials) => Promise<string>): Promise<string> | string {
    if (this.#token !== undefined) return this.#token;
    this.#pending ??= authenticate(this.credentials).then(
      (token) => {
        this.#pending = undefined;
        this.#token = token;
        return token;
      },
      (error: unknown) => {
        this.#pending = undefined;
        throw error;
      },
    );
    return this.#pending;
  }

  /** etcd called this token invalid. Does nothing if there is another one already. */
  invalidate(token: string): void {
    if (this.#token === token) this.#token = undefined;
  }
}
