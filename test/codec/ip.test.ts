import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatIPv4, formatIPv6, parseIP, parseIPv4, parseIPv6 } from '../../src/codec/index.js'
import { anyText, ipv4Bytes, ipv6Bytes } from '../support/arbitraries.js'
import { bytes, concat, hex } from '../support/bytes.js'

/** Texts that come close to an IPv6 literal, or are one. */
const almostIPv6 = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constant(':') },
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 0xffff }).map((group) => group.toString(16)) },
      { weight: 2, arbitrary: fc.constantFrom('0', '::', '00', '0000', 'FFFF', '12345', 'g') },
      { weight: 1, arbitrary: fc.constantFrom('1.2.3.4', '127.0.0.1', '256.0.0.1', '01.2.3.4', '.', '-', ' ') },
    ),
    { maxLength: 18 },
  )
  .map((parts) => parts.join(''))

/** Alternating groups and colons, so that most of them are right. */
const mostlyIPv6 = fc
  .tuple(
    fc.array(
      fc.oneof(
        fc.constant('0'),
        fc.integer({ min: 0, max: 0xffff }).map((group) => group.toString(16)),
        fc.constantFrom('00AB', '0000'),
      ),
      { minLength: 0, maxLength: 9 },
    ),
    fc.option(fc.nat(8)),
    fc.option(fc.constantFrom('1.2.3.4', '255.255.255.255', '1.2.3')),
  )
  .map(([groups, gap, tail]) => {
    const all = tail === null ? groups : [...groups, tail]
    if (gap === null) return all.join(':')
    const at = Math.min(gap, all.length)
    return `${all.slice(0, at).join(':')}::${all.slice(at).join(':')}`
  })

const almostIPv4 = fc
  .array(fc.oneof(fc.nat(300).map(String), fc.constantFrom('', '0', '00', '01', '0x1', '-1', '1e1', ' 1', '255')), {
    minLength: 3,
    maxLength: 5,
  })
  .map((parts) => parts.join('.'))

describe('IPv4', () => {
  it('parsing undoes formatting', () => {
    fc.assert(
      fc.property(ipv4Bytes, (four) => {
        expect(parseIPv4(formatIPv4(four))).toEqual(four)
      }),
    )
  })

  it('reads what Node reads, and nothing else', () => {
    const text = fc.oneof(almostIPv4, almostIPv6, anyText(20))
    fc.assert(
      fc.property(text, (candidate) => {
        expect(parseIPv4(candidate) !== undefined, candidate).toBe(isIPv4(candidate))
      }),
      { numRuns: 2_000 },
    )
  })

  it('formats at an offset', () => {
    expect(formatIPv4(bytes('ffff 7f000001'), 2)).toBe('127.0.0.1')
  })
})

describe('IPv6', () => {
  it('parsing undoes formatting', () => {
    fc.assert(
      fc.property(ipv6Bytes, (sixteen) => {
        expect(parseIPv6(formatIPv6(sixteen))).toEqual(sixteen)
      }),
      { numRuns: 1_000 },
    )
  })

  it('writes what the URL parser writes', () => {
    fc.assert(
      fc.property(ipv6Bytes, (sixteen) => {
        const text = formatIPv6(sixteen)
        const mapped = text.startsWith('::ffff:') && text.includes('.')
        // The URL standard leaves IPv4-mapped addresses in hexadecimal; RFC 5952 section 5 does not.
        const plainText = mapped ? `::ffff:${hexGroups(sixteen.subarray(12))}` : text
        expect(new URL(`http://[${text}]`).hostname).toBe(`[${plainText}]`)
      }),
      { numRuns: 1_000 },
    )
  })

  it('reads what Node and the URL parser read, and nothing else', () => {
    const text = fc.oneof(almostIPv6, mostlyIPv6, almostIPv4)
    let literals = 0
    fc.assert(
      fc.property(text, (candidate) => {
        const parsed = parseIPv6(candidate)
        expect(parsed !== undefined, candidate).toBe(isIPv6(candidate))
        if (parsed === undefined) return
        literals++
        expect(new URL(`http://[${candidate}]`).hostname).toBe(new URL(`http://[${formatIPv6(parsed)}]`).hostname)
      }),
      { numRuns: 3_000 },
    )
    expect(literals).toBeGreaterThan(100)
  })

  it('refuses every text that holds anything beside hexadecimal digits, colons and dots', () => {
    fc.assert(
      fc.property(ipv6Bytes, fc.nat(40), anyText(2, 1), (sixteen, at, extra) => {
        fc.pre(!/^[0-9a-f:.]+$/i.test(extra))
        const text = formatIPv6(sixteen)
        expect(parseIPv6(text.slice(0, at) + extra + text.slice(at))).toBeUndefined()
      }),
    )
  })

  it('formats at an offset', () => {
    fc.assert(
      fc.property(ipv6Bytes, fc.uint8Array({ maxLength: 5 }), (sixteen, before) => {
        expect(formatIPv6(concat(before, sixteen, before), before.length)).toBe(formatIPv6(sixteen))
      }),
    )
  })
})

describe('parseIP', () => {
  it('tells the families apart by the colon', () => {
    expect(hex(parseIP('127.0.0.1')!)).toBe('7f000001')
    expect(parseIP('::1')?.length).toBe(16)
    expect(parseIP('localhost')).toBeUndefined()
    expect(parseIP('')).toBeUndefined()
  })
})

function hexGroups(four: Uint8Array): string {
  const [a = 0, b = 0, c = 0, d = 0] = four
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
}
