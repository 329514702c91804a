import { formatIPv4, formatIPv6 } from '../codec/ip.js'

/** What a captured packet carries, without its headers. */
export interface PacketPayload {
  readonly protocol: 'TCP' | 'UDP'
  /** `address:port`. */
  readonly source: string
  readonly destination: string
  readonly payload: Uint8Array
  /** TCP: sequence number of the first byte. */
  readonly sequence: number
  /** TCP: the client's first packet, SYN without ACK. */
  readonly isOpening: boolean
}

const PROTOCOLS: { readonly [number: number]: 'TCP' | 'UDP' | undefined } = { 6: 'TCP', 17: 'UDP' }
// Ethernet; Linux "cooked" capture, as of `tcpdump -i any`, in its two versions.
const LINK_HEADERS = [
  { length: 14, etherTypeAt: 12 },
  { length: 16, etherTypeAt: 14 },
  { length: 20, etherTypeAt: 0 },
]

/** Takes IP and TCP or UDP headers off, and a link header before them; `undefined` when the bytes are no such packet. */
export function parsePacket(bytes: Uint8Array): PacketPayload | undefined {
  const direct = parseIPPacket(bytes)
  if (direct !== undefined) return direct
  for (const { length, etherTypeAt } of LINK_HEADERS) {
    const etherType = word(bytes, etherTypeAt)
    if (etherType !== 0x0800 && etherType !== 0x86dd) continue
    const packet = parseIPPacket(bytes.subarray(length))
    if (packet !== undefined) return packet
  }
  return undefined
}

function parseIPPacket(bytes: Uint8Array): PacketPayload | undefined {
  const version = byte(bytes, 0) >> 4
  if (version === 4) return parseIPv4Packet(bytes)
  return version === 6 ? parseIPv6Packet(bytes) : undefined
}

/** RFC 791 section 3.1. */
function parseIPv4Packet(bytes: Uint8Array): PacketPayload | undefined {
  const headerLength = (byte(bytes, 0) & 0x0f) * 4
  const totalLength = word(bytes, 2)
  if (headerLength < 20 || totalLength < headerLength || bytes.length < headerLength) return undefined
  // Anything behind the packet is padding of the link.
  const segment = bytes.subarray(headerLength, totalLength)
  return parseSegment(PROTOCOLS[byte(bytes, 9)], formatIPv4(bytes, 12), formatIPv4(bytes, 16), segment)
}

/** RFC 8200 section 3; packets with extension headers are not looked into. */
function parseIPv6Packet(bytes: Uint8Array): PacketPayload | undefined {
  if (bytes.length < 40) return undefined
  const segment = bytes.subarray(40, 40 + word(bytes, 4))
  const [source, destination] = [8, 24].map((offset) => `[${formatIPv6(bytes, offset)}]`)
  return parseSegment(PROTOCOLS[byte(bytes, 6)], source ?? '', destination ?? '', segment)
}

/** RFC 9293 section 3.1, RFC 768. */
function parseSegment(
  protocol: 'TCP' | 'UDP' | undefined,
  from: string,
  to: string,
  segment: Uint8Array,
): PacketPayload | undefined {
  if (protocol === undefined) return undefined
  const headerLength = protocol === 'UDP' ? 8 : (byte(segment, 12) >> 4) * 4
  if (headerLength < (protocol === 'UDP' ? 8 : 20) || segment.length < headerLength) return undefined
  return {
    protocol,
    source: `${from}:${word(segment, 0)}`,
    destination: `${to}:${word(segment, 2)}`,
    payload: segment.subarray(headerLength),
    sequence: word(segment, 4) * 0x10000 + word(segment, 6),
    isOpening: protocol === 'TCP' && (byte(segment, 13) & 0x12) === 0x02,
  }
}

function byte(bytes: Uint8Array, offset: number): number {
  return bytes[offset] ?? 0
}

function word(bytes: Uint8Array, offset: number): number {
  return byte(bytes, offset) * 256 + byte(bytes, offset + 1)
}
