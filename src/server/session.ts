import type { Credentials, Destination } from '../codec/index.js'
import { Cancellation } from './cancellation.js'
import type { RequestCommand } from './request.js'

/** Who a client is, as the authentication method said; `{}` where there was none. */
export type Identity = Readonly<Record<string, unknown>>

/** One client connection, as hooks and events see it. */
export interface Session {
  /** Counts up from 1 within a server. */
  readonly id: number
  /** The client's IP address in canonical form, `undefined` where it has none (Unix sockets, bare streams). */
  readonly clientAddress: string | undefined
  readonly clientPort: number | undefined
  /**
   * Whether the client runs on this host: it came over loopback or by a Unix socket that the server listens on. Never
   * for one that a PROXY protocol header speaks for.
   */
  readonly isLocal: boolean
  /** `undefined` until the client is authenticated. */
  readonly identity: Identity | undefined
  /** RFC 1929 credentials as raw bytes, once received. Never part of an event or of what `inspect` prints. */
  readonly credentials: Credentials | undefined
  /** Which command the client asked for, once it has asked for one that is served. */
  readonly command: RequestCommand | undefined
  /** What the client asked for, once it has. */
  readonly destination: Destination | undefined
  /** Bytes from the client to the target, so far. */
  readonly bytesUp: number
  /** Bytes from the target to the client, so far. */
  readonly bytesDown: number
  /** Aborts when the client is gone, by reset or at the end. A client that only sent FIN is not gone. */
  readonly signal: AbortSignal
}

/** Where a client comes from. */
export interface Origin {
  readonly clientAddress: string | undefined
  readonly clientPort: number | undefined
  readonly isLocal: boolean
}

/** Byte counts of a tunnel. */
export interface Counters {
  readonly bytesUp: number
  readonly bytesDown: number
}

/** The session as the connection that owns it sees it. */
export class ServerSideSession implements Session {
  readonly id: number
  clientAddress: string | undefined
  clientPort: number | undefined
  isLocal = false
  identity: Identity | undefined
  command: RequestCommand | undefined
  destination: Destination | undefined
  /** Called off when the client is gone. */
  readonly gone: Cancellation = new Cancellation()
  readonly #startedAt = performance.now()
  #credentials: Credentials | undefined
  #counters: Counters = { bytesUp: 0, bytesDown: 0 }

  constructor(id: number, origin: Origin) {
    this.id = id
    this.comeFrom(origin)
  }

  get credentials(): Credentials | undefined {
    return this.#credentials
  }

  get bytesUp(): number {
    return this.#counters.bytesUp
  }

  get bytesDown(): number {
    return this.#counters.bytesDown
  }

  get signal(): AbortSignal {
    return this.gone.signal
  }

  /** Milliseconds since the client connected. */
  get durationMs(): number {
    return performance.now() - this.#startedAt
  }

  /** Takes an origin: the socket's own, or what a proxy in front tells. */
  comeFrom({ clientAddress, clientPort, isLocal }: Origin): void {
    this.clientAddress = clientAddress
    this.clientPort = clientPort
    this.isLocal = isLocal
  }

  keepCredentials(credentials: Credentials): void {
    this.#credentials = credentials
  }

  countBy(counters: Counters): void {
    this.#counters = counters
  }
}
