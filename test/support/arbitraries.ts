import fc from 'fast-check'
import { type Address, Command, type Credentials, formatIPv4, formatIPv6 } from '../../src/codec/index.js'
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

/** Every address that `encodeAddress` takes and `decodeAddress` gives back unchanged. */
export const address: fc.Arbitrary<Address> = fc.oneof(
  fc.record({ type: fc.constant('ipv4' as const), host: ipv4Bytes.map((four) => formatIPv4(four)), port }),
  fc.record({ type: fc.constant('ipv6' as const), host: ipv6Bytes.map((sixteen) => formatIPv6(sixteen)), port }),
  fc.record({
    type: fc.constant('domain' as const),
    host: fc.string({ unit: fc.constantFrom(...visible), minLength: 1, maxLength: 255, size: 'max' }),
    port,
  }),
)

/** Methods of a greeting, 1 to 255 of them. */
export const methods: fc.Arbitrary<number[]> = fc.array(byte, { minLength: 1, maxLength: 255, size: 'max' })

export const credentials: fc.Arbitrary<Credentials> = fc.record({
  username: fc.uint8Array({ maxLength: 255, size: 'max' }),
  password: fc.uint8Array({ maxLength: 255, size: 'max' }),
})

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
