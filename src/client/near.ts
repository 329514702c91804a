import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { canonicalIP, withoutZone } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'

/** Canonical IP address of this end of a stream, where it has one. */
export function localHost(stream: Duplex): string | undefined {
  return literal(stream instanceof Socket ? stream.localAddress : undefined)
}

/** Canonical IP address of the proxy that a stream leads to. @throws SocksError where it has none (a Unix socket). */
export function remoteHost(stream: Duplex): string {
  const host = literal(stream instanceof Socket ? stream.remoteAddress : undefined)
  if (host !== undefined) return host
  throw new SocksError('ERR_SOCKS_INVALID_HOST', 'the proxy told no address, and has none of its own')
}

function literal(address: string | undefined): string | undefined {
  return address === undefined ? undefined : canonicalIP(withoutZone(address))?.host
}
