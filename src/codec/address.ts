import { invalidArgument, isPort, outOfRange } from './arguments.js'
import { AddressType } from './constants.js'
import type { Decoded } from './decoded.js'
import { assertNever, SocksError } from './errors.js'
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from './ip.js'

/**
 * ATYP, address and port as they stand on the wire (RFC 1928 section 5). `host` of a `domain` holds one character per
 * byte, unchecked: it may be empty or hold anything. What a request asks for is read through `parseDestination`.
 */
export interface Address {
  readonly type: 'ipv4' | 'ipv6' | 'domain'
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

/** `0.0.0.0:0`: no address to tell. Sent as BND of every failure and for tunnels that have no IP end. */
export const UNSPECIFIED_ADDRESS: Address = Object.freeze({ type: 'ipv4', host: '0.0.0.0', port: 0 })

/**
 * Reads ATYP, address and port at `offset`.
 * @throws SocksError `ERR_SOCKS_BAD_ADDRESS_TYPE` for an ATYP that no RFC assigns: its length is unknown.
 */
export function decodeAddress(bytes: Uint8Array, offset = 0): Decoded<Address> | undefined {
  const atyp = bytes[offset]
  if (atyp === undefined) return undefined
  const start = offset + 1
  switch (atyp) {
    case AddressType.ipv4:
      return finish(bytes, offset, start + 4, () => ({ type: 'ipv4', host: formatIPv4(bytes, start) }))
    case AddressType.ipv6:
      return finish(bytes, offset, start + 16, () => ({ type: 'ipv6', host: formatIPv6(bytes, start) }))
    case AddressType.domain: {
      const length = bytes[start]
      if (length === undefined) return undefined
      const end = start + 1 + length
      return finish(bytes, offset, end, () => ({ type: 'domain', host: latin1(bytes.subarray(start + 1, end)) }))
    }
    default:
      throw new SocksError('ERR_SOCKS_BAD_ADDRESS_TYPE', `unknown address type 0x${atyp.toString(16).padStart(2, '0')}`)
  }
}

/**
 * ATYP, address and port.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for a host that is not of its type: not an IP literal, or a name that is
 * empty, longer than 255 bytes or not printable ASCII.
 * @throws RangeError `ERR_OUT_OF_RANGE` for a port outside 0 to 65535.
 */
export function encodeAddress(address: Address): Uint8Array {
  const host = encodeHost(address)
  const { port } = address
  if (!isPort(port)) throw outOfRange('port must be an integer from 0 to 65535')
  const bytes = new Uint8Array(host.length + 2)
  bytes.set(host, 0)
  bytes[host.length] = port >> 8
  bytes[host.length + 1] = port & 0xff
  return bytes
}

function encodeHost({ type, host }: Address): Uint8Array {
  switch (type) {
    case 'ipv4':
      return prefixed([AddressType.ipv4], parseIPv4(host) ?? notLiteral(type))
    case 'ipv6':
      return prefixed([AddressType.ipv6], parseIPv6(host) ?? notLiteral(type))
    case 'domain': {
      // Longer than the length byte can say: never wrap it (CVE-2023-38545).
      if (!/^[\x21-\x7e]{1,255}$/.test(host)) throw invalidArgument('host must be 1 to 255 bytes of printable ASCII')
      return prefixed([AddressType.domain, host.length], asciiBytes(host))
    }
    default:
      return assertNever(type)
  }
}

function finish(
  bytes: Uint8Array,
  offset: number,
  end: number,
  read: () => Omit<Address, 'port'>,
): Decoded<Address> | undefined {
  const high = bytes[end]
  const low = bytes[end + 1]
  if (high === undefined || low === undefined) return undefined
  return { value: { ...read(), port: (high << 8) | low }, bytesRead: end + 2 - offset }
}

function prefixed(prefix: readonly number[], tail: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(prefix.length + tail.length)
  bytes.set(prefix, 0)
  bytes.set(tail, prefix.length)
  return bytes
}

function notLiteral(type: string): never {
  throw invalidArgument(`host is not an ${type} literal`)
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes)
}

function asciiBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
