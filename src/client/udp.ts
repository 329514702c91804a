import type { LookupFunction } from 'node:net'
import { invalidArgument, outOfRange } from '../codec/arguments.js'
import { Command } from '../codec/constants.js'
import { canonicalIP, isUnspecified, parseDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import { openUdpAssociation, type UdpAssociation } from '../udp/index.js'
import type { Chain, Way } from './chain.js'
import { parseTarget } from './idn.js'
import { lookupAddress } from './lookup.js'
import { localHost, remoteHost } from './near.js'
import { invalidProxy } from './proxy-url.js'

/** How to associate. */
export interface UdpAssociateOptions {
  /** Ends the attempt, which rejects with the signal's reason; later it closes the association. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds until there is a relay; overrides the client's. */
  readonly timeoutMs?: number | undefined
  /**
   * Where the relay is. `'bound'`, the default: where the proxy says, or at the proxy's own address when it says 0.0.0.0.
   * `'proxy'`: always at the address that the proxy was reached at, for one behind NAT that tells a private address.
   */
  readonly relayAddress?: 'bound' | 'proxy' | undefined
  /** Put fragments of the relay together. Default `false`: they are dropped. */
  readonly reassemble?: boolean | undefined
  /** Datagrams that wait for each loop over the association; then the oldest is dropped. Default 256. */
  readonly maxQueued?: number | undefined
}

/** Options, checked, and what the client adds. */
interface AssociateRequest extends UdpAssociateOptions {
  readonly timeoutMs: number
  readonly lookup: LookupFunction | undefined
}

/** UDP ASSOCIATE at the one proxy of a chain. RFC 1928 section 7. */
export async function udpAssociate(chain: Chain, request: AssociateRequest): Promise<UdpAssociation> {
  const { signal, timeoutMs, relayAddress = 'bound', reassemble, maxQueued } = request
  if (relayAddress !== 'bound' && relayAddress !== 'proxy') throw invalidArgument("relayAddress is 'bound' or 'proxy'")
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw invalidArgument('signal must be an AbortSignal')
  }
  if (reassemble !== undefined && typeof reassemble !== 'boolean') throw invalidArgument('reassemble must be a boolean')
  if (maxQueued !== undefined && !(Number.isInteger(maxQueued) && maxQueued > 0)) {
    throw outOfRange('maxQueued must be a positive integer')
  }
  if (chain.last.version === 4) throw invalidProxy('SOCKS4 has no datagrams')
  if (chain.lastHop > 0) {
    throw invalidProxy('datagrams cannot pass a chain of proxies: they would leave this host outside of it')
  }
  // RFC 1928 section 7: zeros where the client does not know what it will send from.
  const destination = parseDestination('0.0.0.0', 0)
  const chainRequest = { destination, signal, timeoutMs, socket: undefined, command: Command.udpAssociate }
  return await chain.complete(chainRequest, (way) => openAt(chain, way, { ...request, relayAddress }))
}

async function openAt(chain: Chain, { socket, bound }: Way, request: AssociateRequest): Promise<UdpAssociation> {
  const { relayAddress, signal, reassemble, maxQueued, lookup } = request
  const isThere = relayAddress === 'proxy' || isUnspecified(bound.host)
  const relayHost = isThere ? remoteHost(socket) : await literal(bound.host, lookup)
  const local = localHost(socket)
  if (bound.port === 0) throw new SocksError('ERR_SOCKS_INVALID_PORT', 'the proxy told no port for datagrams')
  return await openUdpAssociation({
    control: socket,
    relayHost,
    relayPort: bound.port,
    // What the proxy knows us by; a datagram from any other address is not ours to it.
    localAddress: local !== undefined && local.includes(':') === relayHost.includes(':') ? local : undefined,
    parseTarget,
    resolve:
      chain.last.resolve === 'local' ? async ({ host }) => canonicalIP(await lookupAddress(host, lookup)) : undefined,
    reassemble,
    maxQueued,
    signal,
  })
}

async function literal(host: string, lookup: LookupFunction | undefined): Promise<string> {
  return canonicalIP(host)?.host ?? (await lookupAddress(parseDestination(host, 0).host, lookup))
}
