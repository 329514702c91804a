import { randomInt } from 'node:crypto'
import { invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { canonicalSource } from './client-pin.js'
import type { Decide } from './judge.js'
import type { UdpNat } from './mapping.js'
import { assertOptionType, assertOptionTypes, bindable, type OptionType } from './options.js'
import type { AddressRegistry } from './socket.js'

/** Where the socket binds that faces the client. */
export interface UdpRelayBind {
  /** IP literal. The local address of the control connection is one that the client can reach. */
  readonly host: string
  /** Default 0: a free one. */
  readonly port?: number | undefined
  /** First and last of the ports to choose from, in place of `port`: for a firewall that has to know. */
  readonly portRange?: readonly [first: number, last: number] | undefined
}

/** Whose datagrams are relayed. */
export interface UdpRelayClient {
  /**
   * IP address of the other end of the control connection. `undefined`, where there is none (a Unix socket): the first who
   * sends something valid, which is allowed on a loopback `bind.host` alone.
   */
  readonly address: string | undefined
  /** The port that the client named (DST.PORT). Default 0: that of its first valid datagram. */
  readonly port?: number | undefined
}

/** Options of `openUdpRelay`. */
export interface UdpRelayOptions {
  readonly bind: UdpRelayBind
  readonly client: UdpRelayClient
  /**
   * Judges and resolves each destination, once, before the first datagram to it leaves; later ones wait in order, up to
   * 64 for one destination and 1 MiB for all. At most 64 questions are open. A throw, a rejection, nonsense and silence
   * count as a refusal. Broadcast, multicast and unspecified addresses are refused whatever it says.
   */
  readonly decide: Decide
  /**
   * Sockets of our own, which are no targets: who may send from this host's addresses could else take the place of another
   * client before that one has sent. The relay adds its sockets, and removes them when they close. Share one among relays.
   */
  readonly registry?: AddressRegistry | undefined
  /** IP address to send from. Default: what the system chooses. With one, targets of the other family are not reached. */
  readonly localAddress?: string | undefined
  /** Milliseconds without a datagram either way until a mapping ends; 0 is never. Default 120,000, the least of RFC 4787. */
  readonly idleTimeoutMs?: number | undefined
  /** Destinations at a time; the one that was unused for longest makes room. Default 1,024. */
  readonly maxMappings?: number | undefined
  /** Who may answer. Default `restricted`: addresses that the client has sent to. */
  readonly nat?: UdpNat | undefined
  /** Put fragments of the client together (RFC 1928 section 7). Default `false`: they are dropped. */
  readonly reassemble?: boolean | undefined
  /**
   * The address in the header of a reply. Default `source`: of the one that sent it. `request`: as the client wrote it, where
   * the reply comes from exactly there; for old clients that compare.
   */
  readonly replyAddress?: 'source' | 'request' | undefined
  /** Milliseconds of silence after which another port of the client's address may take over; 0, the default, is never. */
  readonly relatchAfterMs?: number | undefined
  /** Milliseconds that an answer of `decide` holds; 0 is for as long as the mapping. Default 60,000. */
  readonly decisionTtlMs?: number | undefined
  /** Milliseconds that `decide` may take; 0 is no limit. Default 10,000. */
  readonly decisionTimeoutMs?: number | undefined
  /** Closes the relay; before it is open, the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** `decide` failed, or no socket to send from could be bound. May come as often as datagrams do. Must not throw. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** Checked options with every default filled in. */
export interface UdpRelaySettings {
  readonly host: string
  readonly ports: readonly [first: number, last: number]
  readonly clientAddress: string | undefined
  readonly clientPort: number
  readonly decide: Decide
  readonly registry: AddressRegistry | undefined
  readonly localAddress: string | undefined
  readonly idleTimeoutMs: number
  readonly maxMappings: number
  readonly nat: UdpNat
  readonly reassemble: boolean
  readonly replyAddress: 'source' | 'request'
  readonly relatchAfterMs: number
  readonly decisionTtlMs: number
  readonly decisionTimeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly onError: (error: unknown) => void
}

const TYPES: Readonly<Record<keyof UdpRelayOptions, OptionType>> = {
  bind: 'object',
  client: 'object',
  decide: 'function',
  registry: 'object',
  localAddress: 'ip',
  idleTimeoutMs: 'milliseconds',
  maxMappings: 'count',
  nat: 'string',
  reassemble: 'boolean',
  replyAddress: 'string',
  relatchAfterMs: 'milliseconds',
  decisionTtlMs: 'milliseconds',
  decisionTimeoutMs: 'milliseconds',
  signal: 'signal',
  onError: 'function',
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE`. */
export function relaySettings(options: UdpRelayOptions): UdpRelaySettings {
  assertOptionTypes(options, TYPES)
  const { bind, client, decide, nat = 'restricted', replyAddress = 'source', localAddress } = options
  for (const [name, value] of Object.entries({ bind, client, decide })) {
    if (value === undefined) throw invalidArgument(`option ${name} is missing`)
  }
  if (nat !== 'restricted' && nat !== 'full-cone') throw invalidArgument('option nat is restricted or full-cone')
  if (replyAddress !== 'source' && replyAddress !== 'request') {
    throw invalidArgument('option replyAddress is source or request')
  }
  assertOptionTypes(client, { address: 'ip', port: 'port' })
  const host = bindHost(bind)
  const clientAddress = client.address === undefined ? undefined : canonicalSource(client.address)
  if (clientAddress === undefined && !host.startsWith('127.') && host !== '::1') {
    throw invalidArgument('without the address of the client anybody could take the relay: bind.host must be loopback')
  }
  return {
    host,
    ports: portsOf(bind),
    clientAddress,
    clientPort: client.port ?? 0,
    decide,
    registry: options.registry,
    localAddress: localAddress === undefined ? undefined : bindable(localAddress, 'option localAddress'),
    idleTimeoutMs: options.idleTimeoutMs ?? 120_000,
    maxMappings: options.maxMappings ?? 1_024,
    nat,
    reassemble: options.reassemble ?? false,
    replyAddress,
    relatchAfterMs: options.relatchAfterMs ?? 0,
    decisionTtlMs: options.decisionTtlMs ?? 60_000,
    decisionTimeoutMs: options.decisionTimeoutMs ?? 10_000,
    signal: options.signal,
    onError: options.onError ?? (() => {}),
  }
}

/** Every port of the range once, from one that nobody can guess on. */
export function* portsToTry([first, last]: readonly [number, number]): Generator<number> {
  const count = last - first + 1
  const start = randomInt(count)
  for (let index = 0; index < count; index++) yield first + ((start + index) % count)
}

function bindHost(bind: UdpRelayBind): string {
  assertOptionTypes(bind, { host: 'ip', port: 'port', portRange: 'object' })
  return bindable(bind.host, 'option bind.host')
}

function portsOf({ port, portRange }: UdpRelayBind): readonly [number, number] {
  if (portRange === undefined) return [port ?? 0, port ?? 0]
  if (port !== undefined) throw invalidArgument('option bind takes a port or a portRange')
  const [first, last] = portRange
  assertOptionType('option bind.portRange', first, 'port')
  if (!isPort(last) || first === 0 || last < first) {
    throw outOfRange('option bind.portRange must be two ports from 1 to 65535, the smaller one first')
  }
  return [first, last]
}
