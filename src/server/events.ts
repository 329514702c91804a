import { type Destination, PEER_ERROR_CODES, type SocksError, type SocksErrorCode } from '../codec/index.js'
import { isDialFailure } from './reply-code.js'
import type { RequestCommand } from './request.js'
import type { Identity, Session } from './session.js'

/**
 * How a connection ended.
 * - `end`: both sides sent FIN and everything was delivered
 * - `reset`: one side of the tunnel was reset or destroyed, and the other with it
 * - `drain-timeout`: half-closed and silent for too long
 * - `idle-timeout`: silent for longer than `idleTimeoutMs`
 * - `empty`: the client left without a byte, as health checks do
 * - `auth-failed`, `handshake-timeout`: as they say
 * - `refused`: wrong bytes, a denial, or a dial that failed; `error` tells which
 * - `aborted`: the client was gone before it had its answer
 * - `limit`: a limit of the server was reached; `error` tells which
 * - `fallback`: handed to the `fallback` hook, which owns the socket now
 * - `shutdown`: the server was closed
 */
export type CloseReason =
  | 'end'
  | 'reset'
  | 'drain-timeout'
  | 'idle-timeout'
  | 'empty'
  | 'auth-failed'
  | 'handshake-timeout'
  | 'refused'
  | 'aborted'
  | 'limit'
  | 'fallback'
  | 'shutdown'

/** A request, before any rule has seen it. */
export interface RequestInfo {
  readonly session: Session
  readonly command: RequestCommand
  readonly identity: Identity
  readonly destination: Destination
}

/** A tunnel or an association is open, or a look-up answered. */
export interface EstablishedInfo extends RequestInfo {
  /**
   * Near address of the outbound connection, also where the client is not told; of a BIND the peer that has connected,
   * of a look-up its answer, of UDP
   * ASSOCIATE where the client sends to.
   */
  readonly bound: { readonly host: string; readonly port: number }
  /** The rules that admitted it, in their order: `authorize allow *.example.com:443`, `egress publicOnly`. */
  readonly rules: readonly string[]
}

/** A BIND listener waits for its peer. */
export interface ListeningInfo extends RequestInfo {
  /** Where the peer may connect to, as the client was told. */
  readonly bound: { readonly host: string; readonly port: number }
}

/** Credentials, a request or an address was refused by a rule. */
export interface DeniedInfo {
  readonly session: Session
  /** `undefined` where the credentials were refused; `session.credentials` has them. */
  readonly identity: Identity | undefined
  /** `undefined` where nothing was asked for yet, or nothing that is served. */
  readonly command: RequestCommand | undefined
  /** What was denied, of datagrams their own destination; `undefined` where nothing was asked for yet. */
  readonly destination: Destination | undefined
  /** The rule that said no, also in the error: `egress publicOnly`, `authorize deny 10.0.0.0/8`, `maxConnections`. */
  readonly rule: string
  readonly error: SocksError
}

/** A connection is over. */
export interface ClosedInfo {
  readonly session: Session
  readonly identity: Identity | undefined
  readonly command: RequestCommand | undefined
  readonly destination: Destination | undefined
  /** From the client to the target, the handshake not counted. */
  readonly bytesUp: number
  /** From the target to the client. */
  readonly bytesDown: number
  readonly durationMs: number
  readonly reason: CloseReason
  /** A `SocksError`, or the system error that reset a tunnel. */
  readonly error: NodeJS.ErrnoException | undefined
}

/** Events of a `SocksServer`, by name, with their arguments. */
export interface ServerEvents {
  session: [session: Session]
  request: [info: RequestInfo]
  established: [info: EstablishedInfo]
  listening: [info: ListeningInfo]
  denied: [info: DeniedInfo]
  closed: [info: ClosedInfo]
  /** A peer broke the protocol, a hook failed, or a listener did. Without a listener nothing is thrown. */
  error: [error: Error, session: Session | undefined]
}

/** What a connection tells its server. */
export interface Observer {
  /** Who the client is, as far as its address tells, is known. Returns the limit that keeps it out, if one does. */
  identified(): SocksError | undefined
  /** The handshake is over: there is a whole request. */
  requested(): void
  request(info: RequestInfo): void
  listening(info: ListeningInfo): void
  established(info: EstablishedInfo): void
  /** `destination`: what was denied, where that is not what the client asked for first. */
  denied(error: SocksError, destination?: Destination): void
  refused(error: SocksError): void
  closed(reason: CloseReason, error: Error | undefined): void
}

const DENIALS: ReadonlySet<SocksErrorCode> = new Set<SocksErrorCode>([
  'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
  'ERR_SOCKS_AUTH_FAILED',
  'ERR_SOCKS_NOT_ALLOWED',
  'ERR_SOCKS_EGRESS_DENIED',
  'ERR_SOCKS_LOOP',
  'ERR_SOCKS_HOOK_FAILED',
  'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
  'ERR_SOCKS_LIMIT',
])

/** Whether an error is the verdict of a rule. */
export function isDenial(error: SocksError): boolean {
  return DENIALS.has(error.code) && !isDialFailure(error)
}

const FAULTS: ReadonlySet<SocksErrorCode> = new Set<SocksErrorCode>([
  ...PEER_ERROR_CODES,
  'ERR_SOCKS_HANDSHAKE_TIMEOUT',
])

/** Whether an error is somebody's fault (a peer's, a hook's) and not an answer that the network gave. */
export function isFault(error: SocksError): boolean {
  return error.code === 'ERR_SOCKS_HOOK_FAILED' || (FAULTS.has(error.code) && !isDialFailure(error))
}
