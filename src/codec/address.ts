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
      return bytes.length < start + 6 ? undefined : decoded('ipv4', formatIPv4(bytes, start), bytes, start + 4, offset)
    case AddressType.ipv6:
      return bytes.length < start + 18
        ? undefined
        : decoded('ipv6', formatIPv6(bytes, start), bytes, start + 16, offset)
    case AddressType.domain: {
      const length = bytes[start]
      if (length === undefined) return undefined
      const end = start + 1 + length
      return bytes.length < end + 2 ? undefined : decoded('domain', latin1(bytes, start + 1, end), bytes, end, offset)
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
  return encodeAddressBehind(0, address)
}

/** As {@link encodeAddress}, behind `prefixLength` zeros that are the caller's to fill in. */
export function encodeAddressBehind(prefixLength: number, { type, host, port }: Address): Uint8Array {
  if (!isPort(port)) throw outOfRange('port must be an integer from 0 to 65535')
  switch (type) {
    case 'ipv4':
      return encoded(prefixLength, AddressType.ipv4, parseIPv4(host) ?? notLiteral(type), port)
    case 'ipv6':
      return encoded(prefixLength, AddressType.ipv6, parseIPv6(host) ?? notLiteral(type), port)
    case 'domain':
      return encodeName(prefixLength, host, port)
    default:
      return assertNever(type)
  }
}

/** One piece of memory for the whole message: to make and to join small pieces costs more than all the rest. */
function encoded(prefixLength: number, atyp: number, host: Uint8Array, port: number): Uint8Array {
  const bytes = new Uint8Array(prefixLength + 1 + host.length + 2)
  bytes[prefixLength] = atyp
  bytes.set(host, prefixLength + 1)
  return withPort(bytes, port)
}

function encodeName(prefixLength: number, host: string, port: number): Uint8Array {
  // Longer than the length byte can say: never wrap it (CVE-2023-38545).
  if (!/^[\x21-\x7e]{1,255}$/.test(host)) throw invalidArgument('host must be 1 to 255 bytes of printable ASCII')
  const bytes = new Uint8Array(prefixLength + 2 + host.length + 2)
  bytes[prefixLength] = AddressType.domain
  bytes[prefixLength + 1] = host.length
  for (let index = 0; index < host.length; index++) bytes[prefixLength + 2 + index] = host.charCodeAt(index)
  return withPort(bytes, port)
}

/** DST.PORT and BND.PORT are the last two bytes of everything that ends in an address. */
function withPort(bytes: Uint8Array, port: number): Uint8Array {
  bytes[bytes.length - 2] = port >> 8
  bytes[bytes.length - 1] = port & 0xff
  return bytes
}

/** The address whose port stands at `portOffset`, all of which is there. */
function decoded(
  type: Address['type'],
  host: string,
  bytes: Uint8Array,
  portOffset: number,
  offset: number,
): Decoded<Address> {
  const port = ((bytes[portOffset] ?? 0) << 8) | (bytes[portOffset + 1] ?? 0)
  return { value: { type, host, port }, bytesRead: portOffset + 2 - offset }
}

function notLiteral(type: string): never {
  throw invalidArgument(`host is not an ${type} literal`)
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let index = start; index < end; index++) text += String.fromCharCode(bytes[index] ?? 0)
  return text
}
