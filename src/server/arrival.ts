import type { Duplex } from 'node:stream'
import type { Observer } from './events.js'
import type { ProxyHeaderReader } from './proxy-protocol.js'
import type { ServerSideSession } from './session.js'

/** What every front door knows of its connections. Times are in milliseconds; 0 is no limit. */
export interface ConnectionSettings {
  readonly handshakeTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly fastRelay: boolean
}

/** A client that has connected. */
export interface Arrival {
  readonly stream: Duplex
  readonly session: ServerSideSession
  readonly observer: Observer
  /** Reads what a proxy in front puts before the client's own bytes. */
  readonly preface: ProxyHeaderReader | undefined
  /** Whether the stream is a socket that was accepted here, and is given to nobody. */
  readonly isOwn: boolean
}
