import { describe, expect, it } from 'vitest'
import {
  classifyIP,
  type Decoded,
  decodeCredentials,
  decodeGreeting,
  decodeGssapiFrame,
  decodeMethodSelection,
  decodeProxyHeader,
  decodeReply,
  decodeRequest,
  decodeSocks4Reply,
  decodeSocks4Request,
  decodeUdpDatagram,
  decodeUserPassStatus,
  encodeCredentials,
  encodeGreeting,
  encodeGssapiFrame,
  encodeMethodSelection,
  encodeProxyHeader,
  encodeReply,
  encodeRequest,
  encodeSocks4Reply,
  encodeSocks4Request,
  encodeUdpDatagram,
  encodeUserPassStatus,
  formatIPv4,
  formatIPv6,
  parseDestination,
  parseIP,
  SOCKS_ERROR_CODES,
  SocksError,
} from '../../src/codec/index.js'
import { bytes, hex, plain, thrownBy } from '../support/bytes.js'
import { loadVectors, WIRE_FILES, type WireFile, type WireVector } from './vectors.js'

type Options = Readonly<Record<string, boolean>>
type Read = (bytes: Uint8Array, options?: Options) => Decoded<unknown> | undefined

const READERS: Record<WireFile, Read> = {
  greeting: (input) => decodeGreeting(input),
  'method-selection': (input) => decodeMethodSelection(input),
  credentials: (input, options) => decodeCredentials(input, 0, options),
  'userpass-status': (input) => decodeUserPassStatus(input),
  request: (input, options) => decodeRequest(input, 0, options),
  reply: (input) => decodeReply(input),
  'udp-datagram': (input) => decodeUdpDatagram(input),
  'socks4-request': (input) => decodeSocks4Request(input),
  'socks4-reply': (input) => decodeSocks4Reply(input),
  'gssapi-frame': (input) => decodeGssapiFrame(input),
  'proxy-header': (input) => decodeProxyHeader(input),
}

describe('test/vectors', () => {
  suite('greeting', (input) => decodeGreeting(input), encodeGreeting)
  suite('method-selection', (input) => decodeMethodSelection(input), encodeMethodSelection)
  suite('credentials', (input, options) => decodeCredentials(input, 0, options), encodeCredentials)
  suite('userpass-status', (input) => decodeUserPassStatus(input), encodeUserPassStatus)
  suite('request', (input, options) => decodeRequest(input, 0, options), encodeRequest)
  suite('reply', (input) => decodeReply(input), encodeReply)
  suite('udp-datagram', (input) => decodeUdpDatagram(input), encodeUdpDatagram)
  suite('socks4-request', (input) => decodeSocks4Request(input), encodeSocks4Request)
  suite('socks4-reply', (input) => decodeSocks4Reply(input), encodeSocks4Reply)
  suite('gssapi-frame', (input) => decodeGssapiFrame(input), encodeGssapiFrame)
  suite('proxy-header', (input) => decodeProxyHeader(input), encodeProxyHeader)

  it('every wire vector has a name of its own and exactly one outcome', () => {
    for (const file of WIRE_FILES) {
      const vectors = loadVectors(file)
      expect(new Set(vectors.map(({ name }) => name)).size).toBe(vectors.length)
      for (const { name, value, encodes, error, needMore } of vectors) {
        const outcomes = [value !== undefined && encodes !== undefined, error !== undefined, needMore === true]
        expect(outcomes.filter(Boolean), `${file}: ${name}`).toHaveLength(1)
        if (error !== undefined) expect(SOCKS_ERROR_CODES).toContain(error)
      }
    }
  })

  it('K36 every strict prefix of every message needs more, and its last byte completes it', () => {
    let prefixes = 0
    for (const file of WIRE_FILES) {
      for (const { name, hex: text, value, bytesRead, options } of loadVectors(file)) {
        if (value === undefined) continue
        const message = bytes(text)
        const end = headerLength(file, value) ?? bytesRead ?? message.length
        for (let length = 0; length < end; length++) {
          expect(READERS[file](message.subarray(0, length), options), `${file}: ${name}, ${length}`).toBeUndefined()
          prefixes++
        }
        expect(READERS[file](message.subarray(0, end), options), `${file}: ${name}`).toBeDefined()
      }
    }
    expect(prefixes).toBeGreaterThan(5_000)
  })

  describe('destination', () => {
    for (const { name, input, value, error, replyCode } of loadVectors('destination')) {
      it(name, () => {
        const parse = () => parseDestination(input.host, input.port)
        if (error === undefined) {
          expect(parse()).toEqual(value)
        } else {
          expect(failure(parse)).toMatchObject({ code: error, replyCode })
        }
      })
    }
  })

  describe('ip', () => {
    for (const { name, text, hex: expected, canonical, refused } of loadVectors('ip')) {
      it(name, () => {
        const parsed = parseIP(text)
        if (refused) {
          expect(parsed).toBeUndefined()
        } else {
          expect(parsed && hex(parsed)).toBe(expected)
          expect(parsed && (parsed.length === 4 ? formatIPv4(parsed) : formatIPv6(parsed))).toBe(canonical)
        }
      })
    }
  })

  describe('ip-kind', () => {
    for (const { name, text, hex: expected, value } of loadVectors('ip-kind')) {
      it(name, () => {
        expect(hex(parseIP(text) ?? new Uint8Array())).toBe(expected)
        expect(classifyIP(bytes(expected))).toBe(value)
      })
    }
  })
})

function suite<T>(
  file: WireFile,
  decode: (bytes: Uint8Array, options?: Options) => Decoded<T> | undefined,
  encode: (value: T) => Uint8Array,
): void {
  describe(file, () => {
    for (const vector of loadVectors(file)) it(vector.name, () => check(vector, decode, encode))
  })
}

function check<T>(
  { hex: text, value, encodes, bytesRead, error, options }: WireVector,
  decode: (bytes: Uint8Array, options?: Options) => Decoded<T> | undefined,
  encode: (value: T) => Uint8Array,
): void {
  const input = bytes(text)
  if (error !== undefined) {
    expect(failure(() => decode(input, options)).code).toBe(error)
    return
  }
  const decoded = decode(input, options)
  if (value === undefined || decoded === undefined) {
    expect(plain(decoded)).toBe(value)
    return
  }
  expect(plain(decoded)).toEqual({ value, bytesRead: bytesRead ?? input.length })
  if (encodes) expect(hex(encode(decoded.value))).toBe(text)
}

/** A datagram has no end of its own: only its header can be cut short. */
function headerLength(file: WireFile, value: unknown): number | undefined {
  if (file !== 'udp-datagram') return undefined
  const { address }: { address: { type: string; host: string } } = JSON.parse(JSON.stringify(value))
  if (address.type === 'domain') return 7 + address.host.length
  return address.type === 'ipv4' ? 10 : 22
}

function failure(call: () => unknown): SocksError {
  const error = thrownBy(call)
  if (!(error instanceof SocksError)) throw error
  return error
}
