import { invalidArgument } from '../codec/arguments.js'
import { parseIP } from '../codec/index.js'
import { assertAdvertise, assertPortRange, type HostAndPort } from './bind-options.js'
import { assertOptionTypes } from './option-types.js'
import type { OutboundTarget } from './request.js'

/** How UDP ASSOCIATE is served. */
export interface UdpOptions {
  /** Milliseconds without a datagram either way until a destination is forgotten; 0 is never. Default 120,000 (RFC 4787). */
  readonly idleTimeoutMs?: number | undefined
  /** Destinations of one association at a time; the one that was unused for longest makes room. Default 1,024. */
  readonly maxMappings?: number | undefined
  /** Associations at a time of one client IP address; one more is answered 01. Default 256. */
  readonly maxAssociationsPerClient?: number | undefined
  /** IP address to receive the client's datagrams on. Default: the one that the client reached this server at. */
  readonly host?: string | undefined
  /** The address that clients are told, where they reach this host by another one (NAT); or a function of the one bound. */
  readonly advertise?: string | ((bound: HostAndPort) => HostAndPort) | undefined
  /** First and last port to receive the client's datagrams on, for a firewall that lets only some in. */
  readonly portRange?: readonly [first: number, last: number] | undefined
  /** Who may answer. Default `'restricted'`: addresses that the client has sent to. `'full-cone'`: anybody. */
  readonly nat?: 'restricted' | 'full-cone' | undefined
  /** Put fragments together (RFC 1928 section 7). Default `false`: they are dropped, as the RFC allows. */
  readonly reassemble?: boolean | undefined
  /**
   * Whose datagrams are taken. Default `'address'`: those of the IP address that the control connection comes from.
   * `'first-sender'`: for clients without an address (Unix sockets), the first who sends, and on loopback alone.
   */
  readonly client?: 'address' | 'first-sender' | undefined
  /** What the header of a reply tells. Default `'source'`: who sent it. `'request'`: what the client wrote, for old clients. */
  readonly replyAddress?: 'source' | 'request' | undefined
  /** Milliseconds of silence after which another port of the client may take over (NAT rebinding); 0, the default, is never. */
  readonly relatchAfterMs?: number | undefined
  /** Relays elsewhere. With `dial` UDP ASSOCIATE is served by this hook or not at all. */
  readonly associate?: UdpAssociate | undefined
}

/** Opens a relay elsewhere. A `SocksError` with a `replyCode` is passed on to the client. */
export type UdpAssociate = (request: OutboundTarget) => UdpElsewhere | Promise<UdpElsewhere>

/** A relay elsewhere. */
export interface UdpElsewhere {
  /** Where the client is to send to. */
  readonly address: HostAndPort
  /** Ends it, when the control connection has ended. */
  close(): void
}

/** Checked options with every default filled in. */
export interface UdpSettings extends UdpOptions {
  readonly maxAssociationsPerClient: number
  readonly client: 'address' | 'first-sender'
}

/** Checks the options of UDP ASSOCIATE; what the relay takes is checked by it, too. @throws TypeError, RangeError. */
export function udpSettings(options: UdpOptions = {}): UdpSettings {
  assertOptionTypes(
    options,
    {
      idleTimeoutMs: 'milliseconds',
      maxMappings: 'count',
      maxAssociationsPerClient: 'count',
      host: 'string',
      advertise: 'any',
      portRange: 'list',
      nat: 'string',
      reassemble: 'boolean',
      client: 'string',
      replyAddress: 'string',
      relatchAfterMs: 'milliseconds',
      associate: 'function',
    },
    'udp.',
  )
  const { host, advertise, portRange, nat, client = 'address', replyAddress, maxAssociationsPerClient = 256 } = options
  if (host !== undefined && parseIP(host) === undefined) throw invalidArgument('option udp.host must be an IP address')
  assertAdvertise(advertise, 'udp.advertise')
  if (portRange !== undefined) assertPortRange(portRange, 'udp.portRange')
  for (const [name, value, words] of [
    ['nat', nat, ['restricted', 'full-cone']],
    ['client', client, ['address', 'first-sender']],
    ['replyAddress', replyAddress, ['source', 'request']],
  ] as const) {
    if (value !== undefined && !words.some((word) => word === value)) {
      throw invalidArgument(`option udp.${name} must be ${words.join(' or ')}`)
    }
  }
  return { ...options, maxAssociationsPerClient, client }
}
