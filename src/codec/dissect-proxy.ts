// The PROXY protocol header that may stand in front of everything a client says, for people.

import type { Decoded } from './decoded.js'
import { type Cursor, hex } from './dissect-cursor.js'
import { isSocksError } from './errors.js'
import { decodeProxyHeader, type ProxyEndpoint, type ProxyHeader } from './proxy-header.js'

// Section 2.1 and 2.2 of the document that proxy-header.ts names.
const V1_START = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]
const V1_MAX_LINE = 107
const V2_START = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
// Fewer of those bytes are just empty lines.
const V2_ENOUGH = 5

/** Whether bytes begin with a header and nothing else that is known. */
export function startsProxyHeader(bytes: Uint8Array): boolean {
  const isStart = (start: readonly number[], enough: number): boolean =>
    bytes.length >= enough && start.every((byte, index) => index >= bytes.length || bytes[index] === byte)
  return isStart(V1_START, V1_START.length) || isStart(V2_START, V2_ENOUGH)
}

/** How many bytes a header takes; all of them where it is cut short or wrong. */
export function proxyHeaderLength(bytes: Uint8Array): number {
  const { decoded } = attempt(bytes)
  return decoded?.bytesRead ?? bytes.length
}

/** Reads a header at the very beginning. */
export function readProxyHeader(cursor: Cursor): void {
  const { decoded, refusal } = attempt(cursor.bytes)
  if (refusal !== undefined) readRefused(cursor, refusal)
  else if (cursor.next === V1_START[0]) readLine(cursor)
  else readBinary(cursor)
  cursor.finish('PROXY header', refusal === undefined ? summary(decoded?.value) : 'not valid')
}

function attempt(bytes: Uint8Array): { decoded?: Decoded<ProxyHeader> | undefined; refusal?: string } {
  try {
    return { decoded: decodeProxyHeader(bytes) }
  } catch (error) {
    if (!isSocksError(error)) throw error
    return { refusal: error.message }
  }
}

/** What cannot be a header is shown in one piece: its line, or what stands in front of the addresses. */
function readRefused(cursor: Cursor, refusal: string): void {
  if (cursor.next === V1_START[0]) cursor.text('LINE', Math.min(textLength(cursor.bytes), V1_MAX_LINE))
  else cursor.raw('HEAD', Math.min(cursor.left, 16))
  cursor.fail(0, `PROXY header: ${refusal}`)
}

function readLine(cursor: Cursor): void {
  const { bytes } = cursor
  const end = bytes.findIndex((byte) => byte === 0x0d || byte === 0x0a)
  cursor.text('LINE', textLength(bytes))
  // Behind UNKNOWN anything may stand; where the line lacks its end, that is what the client says, and its password.
  cursor.text('IGNORED', (end === -1 ? bytes.length : end) - cursor.offset, true)
  cursor.raw('CRLF', 2)
}

/** How many bytes of printable ASCII there are at the beginning. */
function textLength(bytes: Uint8Array): number {
  const end = bytes.findIndex((byte) => byte < 0x20 || byte > 0x7e)
  return end === -1 ? bytes.length : end
}

function readBinary(cursor: Cursor): void {
  cursor.raw('SIG', V2_START.length)
  const command = cursor.byte('VER_CMD', (value) => (value === 0x20 ? 'version 2, LOCAL' : 'version 2, PROXY'))
  const family = cursor.byte('FAM', (value) => FAMILIES.get(value) ?? 'ignored')
  const length = cursor.word('LEN')
  if (length === undefined || family === undefined) return
  const end = cursor.offset + length
  if (command === 0x20) cursor.raw('SKIPPED', length)
  else readBody(cursor, family >> 4, end)
}

/** Addresses of a family, which is the high half of its byte, and the extensions behind them. */
function readBody(cursor: Cursor, family: number, end: number): void {
  if (family === 0x1 || family === 0x2) {
    const size = family === 0x1 ? 4 : 16
    cursor.ip('SRC.ADDR', size)
    cursor.ip('DST.ADDR', size)
    cursor.word('SRC.PORT')
    cursor.word('DST.PORT')
  } else if (family === 0x3) {
    cursor.raw('SRC.ADDR', 108, 'a path')
    cursor.raw('DST.ADDR', 108, 'a path')
  }
  while (cursor.problem === undefined && cursor.offset < end) {
    cursor.byte('TLV.TYPE', (type) => TLV_NAMES.get(type) ?? `0x${hex(type)}`)
    cursor.raw('TLV.VAL', cursor.word('TLV.LEN') ?? 0)
  }
}

function summary(header: ProxyHeader | undefined): string {
  if (header === undefined) return '(cut short)'
  const { version, command, source, destination } = header
  if (command === 'local') return `version ${version}, the proxy in front speaks for itself`
  if (source === undefined || destination === undefined) return `version ${version}, no addresses`
  return `version ${version}, from ${endpointText(source)} to ${endpointText(destination)}`
}

function endpointText({ host, port }: ProxyEndpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

// Section 2.2.
const FAMILIES: ReadonlyMap<number, string> = new Map([
  [0x00, 'unspecified'],
  [0x11, 'TCP over IPv4'],
  [0x12, 'UDP over IPv4'],
  [0x21, 'TCP over IPv6'],
  [0x22, 'UDP over IPv6'],
  [0x31, 'UNIX stream'],
  [0x32, 'UNIX datagram'],
])

// Section 2.2.1.
const TLV_NAMES: ReadonlyMap<number, string> = new Map([
  [0x01, 'ALPN'],
  [0x02, 'AUTHORITY'],
  [0x03, 'CRC32C'],
  [0x04, 'NOOP'],
  [0x05, 'UNIQUE_ID'],
  [0x20, 'SSL'],
  [0x30, 'NETNS'],
])
