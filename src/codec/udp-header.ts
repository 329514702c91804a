import { type Address, decodeAddress, encodeAddressBehind } from './address.js'
import { assertByte } from './arguments.js'
import type { Decoded } from './decoded.js'

/** A datagram between client and relay. RFC 1928 section 7. */
export interface UdpDatagram {
  /** FRAG: 0 for a datagram of its own; else a position 1 to 127, with the high bit on the last one. */
  readonly fragment: number
  /** To the relay: where to send the payload. From it: who sent it. */
  readonly address: Address
  /** A view into the datagram, not a copy. May be empty. */
  readonly payload: Uint8Array
}

/** `00 00 FRAG ATYP ADDR PORT`, to be followed by the payload. @throws as `encodeAddress` does. */
export function encodeUdpHeader({ fragment, address }: { fragment: number; address: Address }): Uint8Array {
  assertByte(fragment, 'fragment')
  const bytes = encodeAddressBehind(3, address)
  bytes[2] = fragment
  return bytes
}

/** Header and payload in one piece. @throws as `encodeAddress` does. */
export function encodeUdpDatagram({ fragment, address, payload }: UdpDatagram): Uint8Array {
  const header = encodeUdpHeader({ fragment, address })
  const bytes = new Uint8Array(header.length + payload.length)
  bytes.set(header, 0)
  bytes.set(payload, header.length)
  return bytes
}

/**
 * Reads one whole datagram, all of it; `undefined` when its header is cut short. The reserved bytes are ignored.
 * @throws SocksError `ERR_SOCKS_BAD_ADDRESS_TYPE`.
 */
export function decodeUdpDatagram(bytes: Uint8Array, offset = 0): Decoded<UdpDatagram> | undefined {
  const fragment = bytes[offset + 2]
  if (fragment === undefined) return undefined
  const address = decodeAddress(bytes, offset + 3)
  if (address === undefined) return undefined
  const payload = bytes.subarray(offset + 3 + address.bytesRead)
  return { value: { fragment, address: address.value, payload }, bytesRead: bytes.length - offset }
}
