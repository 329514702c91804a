import { type Destination, PEER_ERROR_CODES, type SocksError, type SocksErrorCode } from '../codec/index.js'
import { isDialFailure } from './reply-code.js'
import type { Identity, Session } from './session.js'

/**
 * How a connection ended.
 * - `end`: both sides sent FIN and everything was delivered
 * - `reset`: one side of the tunnel was reset or destroyed, and the other with it
 * - `drain-timeout`: half-closed and silent for too long
 * - `empty`: the client left without a byte, as health checks do
 * - `auth-failed`, `handshake-timeout`: as they say
 * - `refused`: wrong bytes, a denial, or a dial that failed; `error` tells which
 * - `aborted`: the client was gone before it had its answer
 * - `shutdown`: the server was closed
 */
export type CloseReason =
  | 'end'
  | 'reset'
  | 'drain-timeout'
  | 'empty'
  | 'auth-failed'
  | 'handshake-timeout'
  | 'refused'
  | 'aborted'
  | 'shutdown'

/** A request, before any rule has seen it. */
export interface RequestInfo {
  readonly session: Session
  readonly command: 'connect'
  readonly identity: Identity
  readonly destination: Destination
}

/** A tunnel is open. */
export interface EstablishedInfo extends RequestInfo {
  /** Near address of the outbound connection, also where the client is not told. */
  readonly bound: { readonly host: string; readonly port: number }
}

/** Credentials, a request or an address was refused by a rule. */
export interface DeniedInfo {
  readonly session: Session
  /** `undefined` where the credentials were refused; `session.credentials` has them. */
  readonly identity: Identity | undefined
  /** `undefined` where nothing was asked for yet. */
  readonly destination: Destination | undefined
  readonly error: SocksError
}

/** A connection is over. */
export interface ClosedInfo {
  readonly session: Session
  readonly identity: Identity | undefined
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
export interface SocksServerEvents {
  session: [session: Session]
  request: [info: RequestInfo]
  established: [info: EstablishedInfo]
  denied: [info: DeniedInfo]
  closed: [info: ClosedInfo]
  /** A peer broke the protocol, a hook failed, or a listener did. Without a listener nothing is thrown. */
  error: [error: Error, session: Session | undefined]
}

/** What a connection tells its server. */
export interface Observer {
  request(info: RequestInfo): void
  established(info: EstablishedInfo): void
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
