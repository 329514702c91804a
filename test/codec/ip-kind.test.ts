import { BlockList } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type AddressKind, classifyIP, formatIPv4, formatIPv6, parseIP } from '../../src/codec/index.js'
import { ipv4Bytes, ipv6Bytes } from '../support/arbitraries.js'
import { concat } from '../support/bytes.js'

const KINDS: readonly AddressKind[] = [
  'public',
  'loopback',
  'unspecified',
  'link-local',
  'private',
  'shared',
  'metadata',
  'documentation',
  'multicast',
  'broadcast',
  'reserved',
]

describe('classifyIP', () => {
  it('K57 every way to put IPv4 into IPv6 is of the kind of the IPv4 address', () => {
    expect(classifyIP(Uint8Array.of(...new Uint8Array(12), 8, 8, 8, 8))).toBe('reserved')
    const zeros = new Uint8Array(16)
    const ways: readonly [string, (four: Uint8Array) => Uint8Array][] = [
      ['mapped', (four) => concat(zeros.subarray(0, 10), Uint8Array.of(0xff, 0xff), four)],
      ['translated', (four) => concat(zeros.subarray(0, 8), Uint8Array.of(0xff, 0xff, 0, 0), four)],
      ['NAT64', (four) => concat(Uint8Array.of(0, 0x64, 0xff, 0x9b), zeros.subarray(0, 8), four)],
      ['6to4', (four) => concat(Uint8Array.of(0x20, 0x02), four, zeros.subarray(0, 10))],
    ]
    fc.assert(
      fc.property(fc.oneof(ipv4Bytes, telling), (four) => {
        const kind = classifyIP(four)
        for (const [way, embed] of ways) {
          // A deprecated form makes an address worse, never better.
          const expected = way === 'translated' && kind === 'public' ? 'reserved' : kind
          expect(classifyIP(embed(four)), way).toBe(expected)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('agrees with ranges written in another form', () => {
    const special = new BlockList()
    for (const [net, bits] of [
      ['0.0.0.0', 8],
      ['10.0.0.0', 8],
      ['100.64.0.0', 10],
      ['127.0.0.0', 8],
      ['168.63.129.16', 32],
      ['169.254.0.0', 16],
      ['172.16.0.0', 12],
      ['192.0.0.0', 24],
      ['192.0.2.0', 24],
      ['192.88.99.0', 24],
      ['192.168.0.0', 16],
      ['198.18.0.0', 15],
      ['198.51.100.0', 24],
      ['203.0.113.0', 24],
      ['224.0.0.0', 3],
    ] as const) {
      special.addSubnet(net, bits)
    }
    fc.assert(
      fc.property(fc.oneof(ipv4Bytes, telling), (four) => {
        expect(classifyIP(four) !== 'public', formatIPv4(four)).toBe(special.check(formatIPv4(four)))
      }),
      { numRuns: 2_000 },
    )
  })

  it('gives every address one of the known kinds, and public IPv6 only within 2000::/3 or as embedded IPv4', () => {
    fc.assert(
      fc.property(ipv6Bytes, (sixteen) => {
        const kind = classifyIP(sixteen)
        expect(KINDS).toContain(kind)
        if (kind !== 'public' || (sixteen[0]! & 0xe0) === 0x20) return
        expect(formatIPv6(sixteen)).toMatch(/^(?:::|64:ff9b::)/)
      }),
      { numRuns: 1_000 },
    )
  })

  it('what is no address of either family is reserved', () => {
    for (const length of [0, 1, 3, 5, 15, 17, 32]) expect(classifyIP(new Uint8Array(length))).toBe('reserved')
  })

  it('reads a view into larger memory', () => {
    const memory = concat(parseIP('8.8.8.8')!, parseIP('127.0.0.1')!)
    expect(classifyIP(memory.subarray(4))).toBe('loopback')
    expect(classifyIP(Buffer.from(memory).subarray(0, 4))).toBe('public')
  })
})

/** Addresses beside which ranges begin and end. */
const telling = fc
  .tuple(
    fc.constantFrom(0, 1, 9, 10, 11, 100, 126, 127, 128, 168, 169, 172, 192, 198, 203, 223, 224, 240, 255),
    fc.constantFrom(0, 2, 15, 16, 18, 20, 31, 32, 51, 63, 64, 88, 127, 128, 168, 254, 255),
    fc.constantFrom(0, 1, 2, 3, 99, 100, 113, 129, 254, 255),
    fc.constantFrom(0, 1, 16, 192, 200, 254, 255),
  )
  .map((four) => Uint8Array.from(four))
