import type { Duplex } from 'node:stream'
import { invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { parseIP } from '../codec/index.js'
import { assertOptionTypes } from './option-types.js'
import type { OutboundTarget } from './request.js'

/** An address and a port. */
export interface HostAndPort {
  readonly host: string
  readonly port: number
}

/** How BIND is served. */
export interface BindOptions {
  /** Milliseconds that a peer may take to connect; 0 is no limit. Default 120,000, which is what SOCKS4 suggests. */
  readonly timeoutMs?: number | undefined
  /**
   * Who may connect. `'strict'`, the default: an address that the client asked for (its port does not matter; 0.0.0.0
   * and `::` stand for any). `'any'`: everybody. Or a function that decides. Whoever may not is dropped, and the wait goes on.
   */
  readonly peer?: 'strict' | 'any' | BindPeerRule | undefined
  /** Which port to listen on. `'any'`, the default: one that is free. `'requested'`: DST.PORT, if it is not 0. */
  readonly port?: 'any' | 'requested' | undefined
  /** First and last port to listen on, for a firewall that lets only some in. */
  readonly portRange?: readonly [first: number, last: number] | undefined
  /**
   * IP address to listen on. Default: the one that leads to the address that was asked for; for any peer the one that
   * the client reached this server at.
   */
  readonly host?: string | undefined
  /** The address that clients are told, where peers reach this host by another one (NAT); or a function of the one bound. */
  readonly advertise?: string | ((bound: HostAndPort) => HostAndPort) | undefined
  /** Listens elsewhere, on a proxy for instance. With `dial` BIND is served by this hook or not at all. */
  readonly listen?: BindListen | undefined
}

/** Judges a peer that has connected for a BIND. Anything but `true`, a throw and a rejection drop it. */
export type BindPeerRule = (peer: HostAndPort, request: OutboundTarget) => boolean | Promise<boolean>

/** Opens a listener for one peer. A `SocksError` with a `replyCode` is passed on to the client. */
export type BindListen = (request: OutboundTarget) => BindListener | Promise<BindListener>

/** Waits for one peer. */
export interface BindListener {
  /** Where the peer is to connect to. */
  readonly address: HostAndPort
  /** Resolves to the peer's stream, idle. Rejects when nobody comes. `signal` aborts when nobody waits any more. */
  accept(options: { readonly signal: AbortSignal }): Promise<AcceptedPeer>
  /** Stops listening; harmless the second time. */
  close(): void
}

/** A peer that has connected. */
export interface AcceptedPeer {
  readonly socket: Duplex
  readonly peer: HostAndPort
}

/** Checked options with every default filled in. */
export interface BindSettings extends BindOptions {
  readonly timeoutMs: number
  readonly peer: 'strict' | 'any' | BindPeerRule
  readonly port: 'any' | 'requested'
}

/** Checks the options of BIND. @throws TypeError, RangeError. */
export function bindSettings(options: BindOptions = {}): BindSettings {
  assertOptionTypes(
    options,
    {
      timeoutMs: 'milliseconds',
      peer: 'any',
      port: 'string',
      portRange: 'list',
      host: 'string',
      advertise: 'any',
      listen: 'function',
    },
    'bind.',
  )
  const { timeoutMs = 120_000, peer = 'strict', port = 'any', portRange, host, advertise } = options
  if (peer !== 'strict' && peer !== 'any' && typeof peer !== 'function') {
    throw invalidArgument("option bind.peer must be 'strict', 'any' or a function")
  }
  if (port !== 'any' && port !== 'requested') throw invalidArgument("option bind.port must be 'any' or 'requested'")
  if (host !== undefined && parseIP(host) === undefined) throw invalidArgument('option bind.host must be an IP address')
  assertAdvertise(advertise, 'bind.advertise')
  if (portRange !== undefined) assertPortRange(portRange, 'bind.portRange')
  return { ...options, timeoutMs, peer, port }
}

/** @throws RangeError unless it is two ports in their order, from 1 on. */
export function assertPortRange(range: readonly number[], name: string): void {
  const [first, last] = range
  if (range.length !== 2 || !isPort(first) || !isPort(last) || first === 0 || first > last) {
    throw outOfRange(`option ${name} must be [first, last], two ports from 1 to 65535`)
  }
}

/** @throws TypeError unless it is an IP address or a function, or left out. */
export function assertAdvertise(advertise: unknown, name: string): void {
  const isAddress = typeof advertise !== 'string' || parseIP(advertise) !== undefined
  if (!isAddress || !['undefined', 'string', 'function'].includes(typeof advertise)) {
    throw invalidArgument(`option ${name} must be an IP address or a function`)
  }
}
