import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { guard } from '../stream/handover.js'
import { guardLookup } from './lookup.js'
import type { Upstream } from './proxy-url.js'
import { guardIdentity } from './tls-options.js'

/** How the first proxy is dialed. */
export interface TransportOptions {
  readonly lookup?: LookupFunction | undefined
  readonly localAddress?: string | undefined
}

/** Begins to connect to a proxy by TCP or Unix socket; wait with {@link opened}. */
export function openTransport(proxy: Upstream, { lookup, localAddress }: TransportOptions): Socket {
  // Half-open: what the target sends after our FIN must still be read.
  const common = { allowHalfOpen: true, noDelay: true, keepAlive: true }
  const { address, path } = proxy
  const ownLookup = guardLookup(lookup)
  const socket =
    address === undefined
      ? connectTcp({ ...common, path: path ?? '' })
      : connectTcp({
          ...common,
          host: address.host,
          port: address.port,
          ...(ownLookup && { lookup: ownLookup }),
          ...(localAddress !== undefined && { localAddress }),
        })
  guard(socket)
  return socket
}

/** Begins TLS with a proxy over a stream that leads to it; wait with {@link opened}. */
export function openTls(stream: Duplex, proxy: Upstream): TLSSocket {
  const host = proxy.address?.host ?? 'localhost'
  // RFC 6066 section 3: no server name for an IP literal.
  const servername = isIP(host) === 0 ? { servername: host } : {}
  const socket = connectTls({ host, ...servername, ...guardIdentity(proxy.tlsOptions() ?? {}), socket: stream })
  socket.allowHalfOpen = true
  guard(socket)
  return socket
}

/** Waits until a stream that was just opened is ready. Rejects with its error; leaves no listener behind. */
export function opened(stream: Duplex, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error: Error | undefined): void => {
      stream.off(event, onOpen)
      stream.off('error', settle)
      stream.off('close', onClose)
      if (error === undefined) resolve()
      else reject(error)
    }
    const onOpen = (): void => settle(undefined)
    const onClose = (): void => settle(new Error('closed before it was open'))
    stream.on(event, onOpen)
    stream.on('error', settle)
    stream.on('close', onClose)
  })
}
