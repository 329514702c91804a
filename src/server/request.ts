import type { Duplex } from 'node:stream'
import type { Address, Destination } from '../codec/index.js'
import type { Candidate } from './dial.js'
import type { Identity, Session } from './session.js'

/** What may be asked of a way out. `udp` is asked once for each destination of an association. */
export type RequestCommand = 'connect' | 'bind' | 'udp' | 'resolve' | 'resolve-ptr'

/** What a client asks for, as rules and dialers see it. `type`, `host` and `port` are canonical (see `Destination`). */
export interface OutboundRequest extends Destination {
  readonly command: RequestCommand
  readonly identity: Identity
  readonly clientAddress: string | undefined
  /** The SOCKS session, where the request came through one. */
  readonly session: Session | undefined
  /** Aborts when the client is gone or the time is up: stop what you do. */
  readonly signal: AbortSignal
  /** With `resolve: true`: the addresses that were looked up and allowed. */
  readonly addresses?: readonly string[]
  /** For a peer that has connected to a BIND listener: what the client had asked for. `host` and `port` are the peer's. */
  readonly requested?: Destination | undefined
}

/** What a dialer returns: a stream, or one with the address it is bound to at the far side of this proxy. */
export type DialResult =
  | Duplex
  | { readonly stream: Duplex; readonly bound?: { readonly host: string; readonly port: number } }

/** Replaces the direct dialer. Gets the name unresolved. A `SocksError` with a `replyCode` is passed on to the client. */
export type Dial = (request: OutboundRequest) => DialResult | Promise<DialResult>

/** Judges a request before DNS. Only `true` admits; a number from 1 to 8 denies with that reply code, all else with 02. */
export type Authorize = (request: OutboundRequest) => boolean | number | Promise<boolean | number>

/** Where to go, and on whose behalf. */
export interface OutboundTarget {
  readonly host: string
  readonly port: number
  readonly clientAddress?: string | undefined
  readonly identity?: Identity | undefined
  readonly session?: Session | undefined
  /** Ends the attempt; the promise rejects with the signal's reason. Default: the end of `session`. */
  readonly signal?: AbortSignal | undefined
}

/** A connected way out. */
export interface OutboundConnection {
  /** Idle: nothing is lost before a listener is attached. */
  readonly stream: Duplex
  /** Near address of the connection; 0.0.0.0:0 where there is none to tell. */
  readonly bound: Address
  /** The rules that admitted it, in their order: `authorize allow *.example.com`, `egress publicOnly`. */
  readonly rules: readonly string[]
}

/** A request to wait for a peer, admitted. */
export interface BindAdmission {
  readonly destination: Destination
  /** Where the peer may come from; `undefined`: from anywhere, or from a name that this host does not look up. */
  readonly peers: readonly Candidate[] | undefined
  readonly rules: readonly string[]
}

/** What a look-up for a client has found, and the rules that admitted it. */
export interface Looked<T> {
  readonly found: T
  readonly rules: readonly string[]
}
