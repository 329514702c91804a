import type { RemoteInfo } from 'node:dgram'
import {
  type Address,
  type Destination,
  decodeUdpDatagram,
  encodeUdpHeader,
  toDestination,
  type UdpDatagram,
} from '../codec/index.js'
import { canonicalSource } from './client-pin.js'

/** What a datagram holds; `undefined` where its header is cut short, or of an address type that no RFC assigns. */
export function decoded(data: Uint8Array): UdpDatagram | undefined {
  try {
    return decodeUdpDatagram(data)?.value
  } catch {
    return undefined
  }
}

/**
 * ATYP, address and port of a datagram with FRAG 0, one character per byte: a key by which to know an address that was
 * read before. Empty where the header is not whole, or of another kind. RFC 1928 section 7.
 */
export function wireAddress(data: Buffer): string {
  const end = data[2] === 0 ? headerEnd(data) : 0
  return data.length < end ? '' : data.toString('latin1', 3, end)
}

function headerEnd(data: Buffer): number {
  switch (data[3]) {
    case 0x01:
      return 10
    case 0x03:
      return 7 + (data[4] ?? 0)
    case 0x04:
      return 22
    default:
      return 0
  }
}

/** Where a datagram can be sent to, or `undefined`: Node's own `send` throws for port 0. */
export function destinationOf(address: Address): Destination | undefined {
  if (address.port === 0) return undefined
  try {
    return toDestination(address)
  } catch {
    return undefined
  }
}

/** RFC 1928 section 7: FRAG and the reserved bytes of a datagram of its own are zero. */
export function headerOf(address: Address): Uint8Array {
  return encodeUdpHeader({ fragment: 0, address })
}

/** The sender of a datagram, canonical. */
export function sourceOf({ address, port }: RemoteInfo): Address {
  const host = canonicalSource(address)
  return { type: host.includes(':') ? 'ipv6' : 'ipv4', host, port }
}
