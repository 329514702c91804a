import { type Address, encodeAddress, UNSPECIFIED_ADDRESS } from './address.js'
import { assertByte, assertBytes, invalidArgument, outOfRange } from './arguments.js'
import { SOCKS4_VERSION } from './constants.js'
import type { Decoded } from './decoded.js'
import { SocksError, type SocksErrorCode } from './errors.js'
import { formatIPv4 } from './ip.js'
import { checkVersion } from './version.js'

/** What a SOCKS4 or SOCKS4A client asks for. SOCKS4 memo, CONNECT and BIND; SOCKS4A memo. */
export interface Socks4Request {
  /** CD byte: `Command.connect` or `Command.bind`; a peer may send any. */
  readonly command: number
  /** DSTIP and DSTPORT: `ipv4`. Or the name of SOCKS4A: `domain`, one character per byte, unchecked, perhaps empty. */
  readonly address: Address
  /** USERID: 0 to 255 bytes, none of them NUL. A claim that nothing proves. */
  readonly userId: Uint8Array
}

/** A server's answer to a SOCKS4 request. SOCKS4 memo, CONNECT and BIND. */
export interface Socks4Reply {
  /** CD byte: see `Socks4ReplyCode`; a peer may send any. */
  readonly code: number
  /** DSTIP and DSTPORT. In a reply to BIND, the address 0.0.0.0 stands for that of the server itself. */
  readonly bound: Address
}

// The memos set no bound, and without one a peer that never sends NUL fills the memory. 255 is what RFC 1929 gives a
// username and RFC 1928 a name.
const MAX_TEXT = 255

// VN CD DSTPORT DSTIP.
const FIXED_LENGTH = 8

// SOCKS4A memo: 0.0.0.x with x not zero, an address that no host has, says that a name follows the user.
const NAME_MARKER = [0x00, 0x00, 0x00, 0x01] as const

// SOCKS4 memo: "VN is the version of the reply code and should be 0". Some servers answer with the version of SOCKS.
const REPLY_VERSION = 0x00

/**
 * `04 CD DSTPORT DSTIP USERID 00`, and `NAME 00` where the address is a `domain` (SOCKS4A, with DSTIP 0.0.0.1).
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for an IPv6 address, for one of 0.0.0.1 to 0.0.0.255 (a server would read
 * it as the marker of a name), for a user id with NUL or that is not bytes, and else as `encodeAddress` does.
 * @throws RangeError `ERR_OUT_OF_RANGE` for a command that is no byte, a port outside 0 to 65535, a user id over 255
 * bytes.
 */
export function encodeSocks4Request({ command, address, userId }: Socks4Request): Uint8Array {
  assertByte(command, 'command')
  assertBytes(userId, 'userId')
  if (userId.length > MAX_TEXT) throw outOfRange('userId is longer than 255 bytes')
  if (userId.includes(0x00)) throw invalidArgument('userId holds a NUL, which would end it')
  const { port, ip, name } = encodeTarget(address)
  const bytes = new Uint8Array(FIXED_LENGTH + userId.length + 1 + name.length)
  bytes[0] = SOCKS4_VERSION
  bytes[1] = command
  bytes.set(port, 2)
  bytes.set(ip, 4)
  bytes.set(userId, FIXED_LENGTH)
  bytes.set(name, FIXED_LENGTH + userId.length + 1)
  return bytes
}

/**
 * Reads a SOCKS4 or SOCKS4A request. What follows its last NUL is the tunnel's; an unknown command is valid bytes.
 * @throws SocksError on a first byte that is not 04; `ERR_SOCKS_BAD_USER_ID` for a user, `ERR_SOCKS_INVALID_HOST` for a
 * name that does not end within 255 bytes, as soon as the 256th is there.
 */
export function decodeSocks4Request(bytes: Uint8Array, offset = 0): Decoded<Socks4Request> | undefined {
  checkVersion(bytes[offset], [SOCKS4_VERSION], 4)
  const command = bytes[offset + 1]
  const userStart = offset + FIXED_LENGTH
  const userEnd = findNul(bytes, userStart, 'ERR_SOCKS_BAD_USER_ID', 'user id')
  if (command === undefined || userEnd === undefined) return undefined
  const address = ipv4Address(bytes, offset)
  // A copy that owns its memory; `slice` of Node's Buffer would share it.
  const userId = new Uint8Array(bytes.subarray(userStart, userEnd))
  if (!isNameMarker(bytes.subarray(offset + 4, userStart))) {
    return { value: { command, address, userId }, bytesRead: userEnd + 1 - offset }
  }
  const nameEnd = findNul(bytes, userEnd + 1, 'ERR_SOCKS_INVALID_HOST', 'name')
  if (nameEnd === undefined) return undefined
  const host = String.fromCharCode(...bytes.subarray(userEnd + 1, nameEnd))
  return {
    value: { command, address: { type: 'domain', host, port: address.port }, userId },
    bytesRead: nameEnd + 1 - offset,
  }
}

/**
 * `00 CD DSTPORT DSTIP`, always 8 bytes. A `bound` that is left out, or that SOCKS4 has no room for (IPv6, a name), is
 * sent as zeros.
 * @throws RangeError for a code that is no byte; else as `encodeAddress` does.
 */
export function encodeSocks4Reply({ code, bound }: { code: number; bound?: Address | undefined }): Uint8Array {
  assertByte(code, 'reply code')
  // ATYP, four bytes of address and two of port.
  const address = encodeAddress(bound?.type === 'ipv4' ? bound : UNSPECIFIED_ADDRESS)
  return Uint8Array.of(REPLY_VERSION, code, ...address.subarray(5), ...address.subarray(1, 5))
}

/** Reads a SOCKS4 reply, whose first byte may be 00 or, leniently, 04. @throws SocksError on any other first byte. */
export function decodeSocks4Reply(bytes: Uint8Array, offset = 0): Decoded<Socks4Reply> | undefined {
  checkVersion(bytes[offset], [REPLY_VERSION, SOCKS4_VERSION], 4)
  const code = bytes[offset + 1]
  if (code === undefined || bytes.length < offset + FIXED_LENGTH) return undefined
  return { value: { code, bound: ipv4Address(bytes, offset) }, bytesRead: FIXED_LENGTH }
}

/** The three parts of an address in their places; `name` has its NUL, and is empty where there is no name. */
function encodeTarget(address: Address): {
  port: Uint8Array
  ip: Iterable<number> & ArrayLike<number>
  name: Uint8Array
} {
  if (address.type === 'ipv6') throw invalidArgument('SOCKS4 has no IPv6 addresses')
  // ATYP, a length byte before a name, host and port.
  const encoded = encodeAddress(address)
  const port = encoded.subarray(-2)
  if (address.type === 'domain') return { port, ip: NAME_MARKER, name: Uint8Array.of(...encoded.subarray(2, -2), 0x00) }
  const ip = encoded.subarray(1, -2)
  if (isNameMarker(ip)) throw invalidArgument('0.0.0.1 to 0.0.0.255 stand for a name in SOCKS4A')
  return { port, ip, name: new Uint8Array() }
}

function isNameMarker(ip: Uint8Array): boolean {
  return ip[0] === 0 && ip[1] === 0 && ip[2] === 0 && ip[3] !== 0
}

/** DSTPORT and DSTIP of the message at `offset`, all of whose fixed part is there. */
function ipv4Address(bytes: Uint8Array, offset: number): Address {
  const port = ((bytes[offset + 2] ?? 0) << 8) | (bytes[offset + 3] ?? 0)
  return { type: 'ipv4', host: formatIPv4(bytes, offset + 4), port }
}

/** Where the NUL of a text stands. Looks at 256 bytes and no more, however much there is. */
function findNul(bytes: Uint8Array, start: number, code: SocksErrorCode, what: string): number | undefined {
  const text = bytes.subarray(start, start + MAX_TEXT + 1)
  const length = text.indexOf(0x00)
  if (length !== -1) return start + length
  if (text.length > MAX_TEXT) throw new SocksError(code, `${what} is longer than ${MAX_TEXT} bytes`)
  return undefined
}
