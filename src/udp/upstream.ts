import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns'
import { canonicalIP, type Destination, SocksError } from '../codec/index.js'
import { canonicalSource } from './client-pin.js'
import { type SocketAddress, UdpSocket } from './socket.js'

/** What a forward needs of an association; a `UdpAssociation` has it. */
export interface AssociationLike {
  send(data: Uint8Array, port: number, host: string): void
  on(
    name: 'message',
    listener: (data: Buffer, from: { readonly address: string; readonly port: number }) => void,
  ): unknown
  on(name: 'close', listener: () => void): unknown
  on(name: 'error', listener: (error: Error) => void): unknown
  close(): void
}

/** The signature of `dns.lookup`. Either shape of answer will do. */
export type UdpLookup = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void

/** The way from a forward to its target, for one of its clients. */
export interface Upstream {
  /** Where its datagrams come from, where that is known. */
  readonly address?: SocketAddress | undefined
  /** May throw, for what cannot be sent. */
  send(data: Uint8Array): void
  close(): void
}

/** Opens an {@link Upstream}. `onEnd`: it is of no use any more. Neither function is called after `close`. */
export type OpenUpstream = (onMessage: (data: Buffer) => void, onEnd: (error?: Error) => void) => Promise<Upstream>

/** Straight to the target: a socket that takes datagrams from there alone. A name is looked up each time one is opened. */
export function directUpstream(
  target: Destination,
  lookup: UdpLookup = systemLookup,
  localAddress?: string,
): OpenUpstream {
  return async (onMessage) => {
    const addresses = target.type === 'domain' ? await addressesOf(target.host, lookup, localAddress) : [target.host]
    let failure: unknown
    for (const host of addresses) {
      try {
        return await connected(host, target.port, localAddress, onMessage)
      } catch (error) {
        // No route for that family, most likely: another address may do.
        failure = error
      }
    }
    throw failure
  }
}

async function connected(
  host: string,
  port: number,
  localAddress: string | undefined,
  onMessage: (data: Buffer) => void,
): Promise<Upstream> {
  const socket = new UdpSocket({
    host: localAddress ?? (host.includes(':') ? '::' : '0.0.0.0'),
    onMessage,
    // An ICMP error: the target may be back for the next datagram.
    onError: () => {},
  })
  try {
    await socket.connect({ host, port })
  } catch (error) {
    socket.close()
    throw error
  }
  return {
    address: socket.address,
    send: (data) => {
      if (!socket.send(data)) throw new SocksError('ERR_SOCKS_LIMIT', 'too many datagrams wait to be sent')
    },
    close: () => socket.close(),
  }
}

/** Through an association, to which the target is named as it is. */
export function associationUpstream(target: Destination, open: () => Promise<AssociationLike>): OpenUpstream {
  return async (onMessage, onEnd) => {
    const association = await open()
    let isOpen = true
    association.on('message', (data, { address, port }) => {
      // The address of a name is the proxy's business; what it sends from another port is nobody's answer.
      const isTarget = port === target.port && (target.type === 'domain' || canonicalSource(address) === target.host)
      if (isOpen && isTarget) onMessage(data)
    })
    association.on('error', (error) => {
      if (isOpen) onEnd(error)
    })
    association.on('close', () => {
      if (isOpen) onEnd()
    })
    return {
      send: (data) => association.send(data, target.port, target.host),
      close: () => {
        isOpen = false
        association.close()
      },
    }
  }
}

/** The addresses of a name that can be reached from `localAddress`, in the resolver's order. */
async function addressesOf(host: string, lookup: UdpLookup, localAddress: string | undefined): Promise<string[]> {
  const answer = await new Promise<unknown>((resolve, reject) => {
    const returned: unknown = lookup(host, { all: true }, (error, addresses) =>
      error ? reject(error) : resolve(addresses),
    )
    // An async function in its place: its rejection is an answer, too.
    Promise.resolve(returned).catch(reject)
  })
  const entries: unknown[] = Array.isArray(answer) ? answer : [answer]
  const addresses = entries.flatMap((entry) => {
    const text: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'address') : entry
    const literal = typeof text === 'string' ? canonicalIP(text) : undefined
    const isReachable = localAddress === undefined || localAddress.includes(':') === (literal?.type === 'ipv6')
    return literal !== undefined && isReachable ? [literal.host] : []
  })
  if (addresses.length > 0) return addresses
  throw Object.assign(new Error(`no usable address for ${host}`), { code: 'ENOTFOUND' })
}
