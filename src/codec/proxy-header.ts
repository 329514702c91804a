// The PROXY protocol of HAProxy: who really is at the other end, told by a proxy in front before anything else is said.
// Sections are those of https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt

import { assertByte, assertBytes, invalidArgument, isPort, outOfRange } from './arguments.js'
import type { Decoded } from './decoded.js'
import { canonicalIP } from './destination.js'
import { SocksError } from './errors.js'
import { formatIPv4, formatIPv6, parseIP, parseIPv4, parseIPv6 } from './ip.js'

/** One end of the connection that the proxy in front accepted. */
export interface ProxyEndpoint {
  /** IP literal; decoded ones are canonical (RFC 5952), and IPv4 where the address is IPv4-mapped. */
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

/** An extension of version 2. Section 2.2.1 lists the types; this library interprets none, the CRC32c (03) included. */
export interface ProxyTlv {
  /** One byte. */
  readonly type: number
  /** 0 to 65535 bytes. */
  readonly value: Uint8Array
}

/** A header of the PROXY protocol, version 1 (text) or 2 (binary). */
export interface ProxyHeader {
  readonly version: 1 | 2
  /** `local`: the proxy in front speaks for itself (a health check), and the real ends of the connection count. */
  readonly command: 'proxy' | 'local'
  /** Who connected to the proxy in front. Absent, as is `destination`, where that is no pair of IP addresses. */
  readonly source?: ProxyEndpoint | undefined
  /** Which address of the proxy in front was connected to. */
  readonly destination?: ProxyEndpoint | undefined
  /** Empty in version 1, and where the command is `local`: what such a header holds is to be discarded. */
  readonly tlvs: readonly ProxyTlv[]
}

// Section 2.1: the longest line ("PROXY UNKNOWN", two IPv6 addresses, two ports) has 107 characters, CRLF included.
const V1_MAX_LINE = 107
const V1_HEADS = ['PROXY TCP4 ', 'PROXY TCP6 ', 'PROXY UNKNOWN '] as const

// Section 2.2.
const V2_SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a] as const
const V2_HEAD = 16
const V2_LOCAL = 0x20
const V2_PROXY = 0x21
const V2_UNSPECIFIED = 0x00
const V2_TCP4 = 0x11
const V2_TCP6 = 0x21

// Section 2.2: family and transport in one byte -> bytes of address. These combinations are the ones it calls valid.
const V2_ADDRESS_LENGTHS: ReadonlyMap<number, number> = new Map([
  [V2_UNSPECIFIED, 0],
  [V2_TCP4, 12],
  [0x12, 12], // UDP over IPv4
  [V2_TCP6, 36],
  [0x22, 36], // UDP over IPv6
  [0x31, 216], // UNIX stream
  [0x32, 216], // UNIX datagram
])

// High half of the family byte: AF_INET and AF_INET6. Section 2.2.
const ADDRESS_SIZES: ReadonlyMap<number, 4 | 16> = new Map([
  [0x1, 4],
  [0x2, 16],
])

// The length field could ask for 65535 bytes of memory per connection before anybody has said who he is. Addresses take
// 216 at most, and the extensions in use a few hundred; nginx reads 4096 too.
const V2_MAX_LENGTH = 4096

/**
 * Reads a header of either version. Call it only where a header is due: section 2 forbids to guess if one is there.
 * What a `local` header holds is skipped unread, and so are the addresses of UNKNOWN and AF_UNIX.
 * @throws SocksError `ERR_SOCKS_BAD_PROXY_HEADER`, as soon as bytes are there that no header can go on from.
 */
export function decodeProxyHeader(bytes: Uint8Array, offset = 0): Decoded<ProxyHeader> | undefined {
  const first = bytes[offset]
  if (first === undefined) return undefined
  return first === V2_SIGNATURE[0] ? decodeV2(bytes, offset) : decodeV1(bytes, offset)
}

/**
 * A header of either version. Without both ends, or with the command `local`, it tells no address (UNKNOWN, AF_UNSPEC).
 * Where one end is IPv4 and the other IPv6, the first is written as IPv4-mapped IPv6, so that neither is lost.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for a host that is no IP literal (with a zone it is none), a version or
 * command that does not exist, TLVs in version 1, a TLV whose value is not bytes.
 * @throws RangeError `ERR_OUT_OF_RANGE` for a port outside 0 to 65535, a TLV type that is no byte, addresses and TLVs
 * that are longer, together, than the 4096 bytes that `decodeProxyHeader` reads.
 */
export function encodeProxyHeader({ version, command, source, destination, tlvs }: ProxyHeader): Uint8Array {
  if (command !== 'proxy' && command !== 'local') throw invalidArgument('command must be proxy or local')
  const ends = source && destination ? sameFamily(endBytes(source), endBytes(destination)) : undefined
  const told = command === 'proxy' ? ends : undefined
  switch (version) {
    case 1:
      if (tlvs.length > 0) throw invalidArgument('version 1 has no TLVs')
      return encodeV1(told)
    case 2:
      return encodeV2(command, told, tlvs)
    default:
      throw invalidArgument('version must be 1 or 2')
  }
}

function decodeV1(bytes: Uint8Array, offset: number): Decoded<ProxyHeader> | undefined {
  const text = String.fromCharCode(...bytes.subarray(offset, offset + V1_MAX_LINE))
  // A lone CR or LF ends the line for some readers and not for others: such a line is refused, even in UNKNOWN.
  const line = text.slice(0, indexOfLineEnd(text))
  if (!V1_HEADS.some((head) => head.startsWith(line) || line.startsWith(head))) throw noHeader()
  if (/^PROXY TCP[46] .*[^0-9A-Fa-f:. ]/.test(line)) throw badHeader('addresses hold a character that none has')
  const ending = text.slice(line.length, line.length + 2)
  if (ending === '\r\n') return { value: parseLine(line), bytesRead: line.length + 2 }
  if (ending !== '' && ending !== '\r') throw badHeader('the line does not end in CRLF')
  if (text.length === V1_MAX_LINE) throw badHeader(`the line is longer than ${V1_MAX_LINE} bytes`)
  return undefined
}

function indexOfLineEnd(text: string): number {
  const index = text.search(/[\r\n]/)
  return index === -1 ? text.length : index
}

/** A whole line of version 1, without its CRLF. */
function parseLine(line: string): ProxyHeader {
  // Section 2.1: whatever stands behind UNKNOWN is to be ignored.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { version: 1, command: 'proxy', tlvs: [] }
  // Exactly one space between fields.
  const [, family, from = '', to = '', fromPort = '', toPort = ''] =
    /^PROXY TCP([46]) (\S+) (\S+) (\S+) (\S+)$/.exec(line) ?? []
  const parse = family === '4' ? parseIPv4 : parseIPv6
  return {
    version: 1,
    command: 'proxy',
    source: parseEndpoint(from, fromPort, parse),
    destination: parseEndpoint(to, toPort, parse),
    tlvs: [],
  }
}

function parseEndpoint(host: string, port: string, parse: typeof parseIPv4): ProxyEndpoint {
  if (parse(host) === undefined) throw badHeader('an address is not of the family that the line names')
  // No leading zeros (section 2.1): 010 would be 8 to some.
  if (!/^(?:0|[1-9][0-9]{0,4})$/.test(port) || !isPort(Number(port))) throw badHeader('a port is not a number to 65535')
  return endpoint(host, Number(port))
}

function decodeV2(bytes: Uint8Array, offset: number): Decoded<ProxyHeader> | undefined {
  const head = bytes.subarray(offset, offset + V2_HEAD)
  const length = checkHead(head)
  const start = offset + V2_HEAD
  if (length === undefined || bytes.length < start + length) return undefined
  return { value: readBody(head, bytes.subarray(start, start + length)), bytesRead: V2_HEAD + length }
}

/** Length of what follows the first 16 bytes; those of them that are there are checked. */
function checkHead(head: Uint8Array): number | undefined {
  if (V2_SIGNATURE.some((byte, index) => index < head.length && head[index] !== byte)) throw noHeader()
  const command = head[12]
  if (command === undefined) return undefined
  if (command !== V2_LOCAL && command !== V2_PROXY) throw badHeader('unknown version or command')
  const family = head[13]
  if (family === undefined) return undefined
  // Section 2.2: of LOCAL "the protocol block including the family" is discarded.
  const minimum = command === V2_LOCAL ? 0 : V2_ADDRESS_LENGTHS.get(family)
  if (minimum === undefined) throw badHeader('unknown address family or transport')
  if (head.length < V2_HEAD) return undefined
  const length = word(head, 14)
  if (length < minimum) throw badHeader('the length has no room for the addresses')
  if (length > V2_MAX_LENGTH) throw badHeader(`the length is over ${V2_MAX_LENGTH} bytes`)
  return length
}

function readBody(head: Uint8Array, body: Uint8Array): ProxyHeader {
  const family = head[13] ?? 0
  if (head[12] === V2_LOCAL) return { version: 2, command: 'local', tlvs: [] }
  const tlvs = readTlvs(body, V2_ADDRESS_LENGTHS.get(family) ?? 0)
  const size = ADDRESS_SIZES.get(family >> 4)
  if (size === undefined) return { version: 2, command: 'proxy', tlvs }
  const format = size === 4 ? formatIPv4 : formatIPv6
  return {
    version: 2,
    command: 'proxy',
    source: endpoint(format(body, 0), word(body, 2 * size)),
    destination: endpoint(format(body, size), word(body, 2 * size + 2)),
    tlvs,
  }
}

/** TYPE LENGTH LENGTH VALUE, up to the end. Section 2.2.1. */
function readTlvs(body: Uint8Array, start: number): ProxyTlv[] {
  const tlvs: ProxyTlv[] = []
  let offset = start
  while (offset < body.length) {
    const type = body[offset] ?? 0
    const end = offset + 3 + word(body, offset + 1)
    if (body.length < offset + 3 || body.length < end) throw badHeader('a TLV is longer than the header')
    // A copy that owns its memory; `slice` of Node's Buffer would share it.
    tlvs.push({ type, value: new Uint8Array(body.subarray(offset + 3, end)) })
    offset = end
  }
  return tlvs
}

/** Address bytes, 4 or 16, and port of one end. */
interface End {
  readonly ip: Uint8Array
  readonly port: number
}

type Ends = readonly [source: End, destination: End]

function encodeV1(ends: Ends | undefined): Uint8Array {
  return Uint8Array.from(formatLine(ends), (character) => character.charCodeAt(0))
}

function formatLine(ends: Ends | undefined): string {
  if (ends === undefined) return 'PROXY UNKNOWN\r\n'
  const [{ ip, port }, to] = ends
  const [family, format] = ip.length === 4 ? (['TCP4', formatIPv4] as const) : (['TCP6', formatIPv6] as const)
  return `PROXY ${family} ${format(ip)} ${format(to.ip)} ${port} ${to.port}\r\n`
}

function encodeV2(command: ProxyHeader['command'], ends: Ends | undefined, tlvs: readonly ProxyTlv[]): Uint8Array {
  const addresses = ends === undefined ? [] : ends.map(({ ip }) => ip)
  const ports = ends === undefined ? [] : ends.map(({ port }) => bigEndian(port))
  const parts = [...addresses, ...ports, ...tlvs.flatMap(tlvParts)]
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  if (length > V2_MAX_LENGTH) throw outOfRange(`addresses and TLVs are longer than ${V2_MAX_LENGTH} bytes`)
  const family = ends === undefined ? V2_UNSPECIFIED : ends[0].ip.length === 4 ? V2_TCP4 : V2_TCP6
  const bytes = new Uint8Array(V2_HEAD + length)
  bytes.set(V2_SIGNATURE, 0)
  bytes.set([command === 'local' ? V2_LOCAL : V2_PROXY, family, ...bigEndian(length)], V2_SIGNATURE.length)
  let offset = V2_HEAD
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

function tlvParts({ type, value }: ProxyTlv): Uint8Array[] {
  assertByte(type, 'TLV type')
  assertBytes(value, 'TLV value')
  // The sum is checked too, but this length would have wrapped by then.
  if (value.length > V2_MAX_LENGTH) throw outOfRange(`a TLV is longer than ${V2_MAX_LENGTH} bytes`)
  return [Uint8Array.of(type, ...bigEndian(value.length)), value]
}

function endBytes({ host, port }: ProxyEndpoint): End {
  if (!isPort(port)) throw outOfRange('port must be an integer from 0 to 65535')
  const ip = parseIP(canonicalIP(host)?.host ?? '')
  if (ip === undefined) throw invalidArgument('host must be an IP literal without a zone')
  return { ip, port }
}

function sameFamily(source: End, destination: End): Ends {
  if (source.ip.length === destination.ip.length) return [source, destination]
  return [mapped(source), mapped(destination)]
}

/** An IPv4 address as ::ffff:a.b.c.d. RFC 4291 section 2.5.5.2. */
function mapped({ ip, port }: End): End {
  if (ip.length === 16) return { ip, port }
  return { ip: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...ip), port }
}

/** `text` is an IP literal. */
function endpoint(text: string, port: number): ProxyEndpoint {
  return { host: canonicalIP(text)?.host ?? text, port }
}

function word(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)
}

function bigEndian(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff)
}

function noHeader(): SocksError {
  return badHeader('the peer sent no PROXY protocol header')
}

function badHeader(message: string): SocksError {
  return new SocksError('ERR_SOCKS_BAD_PROXY_HEADER', message)
}
