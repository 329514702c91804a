import fc from 'fast-check'
import {
  type Address,
  Command,
  type Credentials,
  canonicalIP,
  formatIPv4,
  formatIPv6,
  type GssapiFrame,
  type ProxyEndpoint,
  type ProxyHeader,
  type Socks4Reply,
  type Socks4Request,
} from '../../src/codec/index.js'
import type { Conversation } from '../codec/conversation.js'

export const byte: fc.Arbitrary<number> = fc.integer({ min: 0, max: 0xff })

export const port: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 0, max: 0xffff }),
  fc.constantFrom(0, 1, 80, 0xff, 0x100, 0xffff),
)

/** Bytes as a peer might send them by accident: any, and many that mean something somewhere in SOCKS. */
export function garbage(maxLength: number): fc.Arbitrary<Uint8Array> {
  const telling = fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 0x16, 0x47, 0x80, 0xf0, 0xf1, 0xff)
  return fc.oneof(
    fc.uint8Array({ maxLength }),
    fc.array(fc.oneof(telling, byte), { maxLength }).map((list) => Uint8Array.from(list)),
  )
}

/** Text of any code points but surrogates; fast-check's own 'binary' strings take a second to set up in every worker. */
export function anyText(maxLength: number, minLength = 0): fc.Arbitrary<string> {
  const codePoint = fc.oneof(
    fc.integer({ min: 0, max: 0x7f }),
    fc.integer({ min: 0, max: 0xd7ff }),
    fc.integer({ min: 0xe000, max: 0x10_ffff }),
  )
  return fc.array(codePoint, { minLength, maxLength }).map((list) => String.fromCodePoint(...list))
}

export const ipv4Bytes: fc.Arbitrary<Uint8Array> = fc.uint8Array({ minLength: 4, maxLength: 4 })

/** Sixteen bytes, with runs of zeros and embedded IPv4 far more often than chance would have them. */
export const ipv6Bytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .array(fc.oneof(fc.constant(0), fc.constantFrom(1, 0xff, 0x100, 0xffff), fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    })
    .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))),
  ipv4Bytes.map((tail) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...tail)),
)

const visible = Array.from({ length: 0x7e - 0x21 + 1 }, (_, index) => String.fromCharCode(0x21 + index))

const ipv4Address: fc.Arbitrary<Address> = fc.record({
  type: fc.constant('ipv4' as const),
  host: ipv4Bytes.map((four) => formatIPv4(four)),
  port,
})

const domainAddress: fc.Arbitrary<Address> = fc.record({
  type: fc.constant('domain' as const),
  host: fc.string({ unit: fc.constantFrom(...visible), minLength: 1, maxLength: 255, size: 'max' }),
  port,
})

/** Every address that `encodeAddress` takes and `decodeAddress` gives back unchanged. */
export const address: fc.Arbitrary<Address> = fc.oneof(
  ipv4Address,
  fc.record({ type: fc.constant('ipv6' as const), host: ipv6Bytes.map((sixteen) => formatIPv6(sixteen)), port }),
  domainAddress,
)

/** Methods of a greeting, 1 to 255 of them. */
export const methods: fc.Arbitrary<number[]> = fc.array(byte, { minLength: 1, maxLength: 255, size: 'max' })

export const credentials: fc.Arbitrary<Credentials> = fc.record({
  username: fc.uint8Array({ maxLength: 255, size: 'max' }),
  password: fc.uint8Array({ maxLength: 255, size: 'max' }),
})

/** Requests of SOCKS4 and SOCKS4A. */
export const socks4Request: fc.Arbitrary<Socks4Request> = fc.record({
  command: byte,
  // What marks a name is no address.
  address: fc.oneof(
    ipv4Address.filter(({ host }) => !host.startsWith('0.0.0.') || host === '0.0.0.0'),
    domainAddress,
  ),
  userId: fc.uint8Array({ min: 1, maxLength: 255, size: 'max' }),
})

export const socks4Reply: fc.Arbitrary<Socks4Reply> = fc.record({ code: byte, bound: ipv4Address })

/** Types of the RFC; tokens are shorter than they may be. */
export const gssapiFrame: fc.Arbitrary<GssapiFrame> = fc.oneof(
  fc.record({ type: fc.constantFrom(0x01, 0x02, 0x03), token: fc.uint8Array({ maxLength: 600, size: 'max' }) }),
  fc.constant({ type: 0xff, token: new Uint8Array() }),
)

const ends: fc.Arbitrary<{ source?: ProxyEndpoint; destination?: ProxyEndpoint }> = fc.oneof(
  fc.constant({}),
  fc.record({ source: endpoint(4), destination: endpoint(4) }),
  // IPv4-mapped addresses among them: a pair of both families travels as IPv6.
  fc.record({ source: endpoint(16), destination: endpoint(16) }),
)

const tlvs = fc.array(fc.record({ type: byte, value: fc.uint8Array({ maxLength: 80 }) }), { maxLength: 5 })

/** Every header that `encodeProxyHeader` takes and `decodeProxyHeader` gives back unchanged. */
export const proxyHeader: fc.Arbitrary<ProxyHeader> = fc.oneof(
  ends.map((both) => ({ version: 1 as const, command: 'proxy' as const, ...both, tlvs: [] })),
  fc.tuple(ends, tlvs).map(([both, list]) => ({ version: 2 as const, command: 'proxy' as const, ...both, tlvs: list })),
  fc.constant({ version: 2, command: 'local', tlvs: [] }),
)

function endpoint(length: 4 | 16): fc.Arbitrary<ProxyEndpoint> {
  const text = length === 4 ? ipv4Bytes.map((four) => formatIPv4(four)) : ipv6Bytes.map((all) => formatIPv6(all))
  return fc.record({ host: text.map((host) => canonicalIP(host)?.host ?? host), port })
}

const label = fc
  .tuple(fc.constantFrom(...'abcxyz'), fc.string({ unit: fc.constantFrom(...'abcxyz019-_'), maxLength: 20 }))
  .map((parts) => parts.join(''))

/** A name in canonical form. */
export const name: fc.Arbitrary<string> = fc
  .array(label, { minLength: 1, maxLength: 4 })
  .map((labels) => labels.join('.'))

/** A host in canonical form, of each type. */
export const canonicalHost: fc.Arbitrary<Omit<Address, 'port'>> = fc.oneof(
  fc.record({ type: fc.constant('domain' as const), host: name }),
  fc.record({ type: fc.constant('ipv4' as const), host: ipv4Bytes.map((four) => formatIPv4(four)) }),
  fc.record({
    type: fc.constant('ipv6' as const),
    host: ipv6Bytes.map((sixteen) => formatIPv6(sixteen)).filter((host) => !host.startsWith('::ffff:')),
  }),
)

const authentication = fc.oneof(
  fc.constant({ method: 0x00 }),
  fc.constant({ method: 0xff }),
  fc.record({
    method: fc.constant(0x02),
    credentials,
    status: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: byte }),
  }),
  fc.record({
    method: fc.oneof(fc.constant(0x01), fc.integer({ min: 0x03, max: 0xfe })),
    tokens: fc.record({
      client: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      server: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    }),
  }),
)

const success = fc.record({ code: fc.constant(0), bound: address })
const failure = fc.record({ code: fc.integer({ min: 1, max: 0xff }), bound: address })

const exchange = fc.oneof(
  fc.record({
    command: fc.constantFrom(Command.connect, Command.udpAssociate, Command.resolve, Command.resolvePtr, 0x04, 0xff),
    replies: fc.oneof(fc.tuple(success), fc.tuple(failure)),
  }),
  fc.record({
    command: fc.constant(Command.bind),
    replies: fc.oneof(fc.tuple(failure), fc.tuple(success, success), fc.tuple(success, failure)),
  }),
)

/** A conversation in which both sides keep to the rules; refusals are part of them. */
export const conversation: fc.Arbitrary<Conversation> = fc
  .record({
    authentication,
    others: fc.array(byte, { maxLength: 6 }),
    exchange,
    host: canonicalHost,
    port,
    clientPayload: fc.uint8Array({ maxLength: 40 }),
    serverPayload: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ authentication: { method, ...auth }, others, exchange, host, port, clientPayload, serverPayload }) => ({
    ...auth,
    ...exchange,
    method,
    // 0xff in the list is no method to choose; it is legal all the same.
    offered: [...others, method],
    destination: { ...host, port },
    clientPayload,
    serverPayload,
  }))

/** How a stream is cut: sizes of chunks, to be repeated. */
export const sizes: fc.Arbitrary<number[]> = fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 8 })
