import { isIP, isIPv4 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  canonicalIP,
  type Destination,
  encodeAddress,
  formatDestination,
  formatIPv6,
  parseDestination,
  SocksError,
  toDestination,
} from '../../src/codec/index.js'
import { anyText, canonicalHost, ipv4Bytes, ipv6Bytes, name, port } from '../support/arbitraries.js'
import { bytes } from '../support/bytes.js'
import { NOT_PORTS, socksError } from './laws.js'

/** Strings that look like hosts, with every trick in them. */
const trickyHost = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('.', ':', '::', '[', ']', '%', '-', '_', 'x', '0x', '\0', ' ', '\n') },
      { weight: 4, arbitrary: fc.nat(300).map(String) },
      { weight: 2, arbitrary: fc.constantFrom('localhost', 'example', 'com', 'ffff', 'FE80', '127', '0177', 'eth0') },
      { weight: 1, arbitrary: fc.constantFrom('\u212a', '\u017f', '\u0130', '１', '。', 'é', '\ud800', '\xa0') },
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''))

const anyHost = fc.oneof(
  trickyHost,
  anyText(300),
  // Lone surrogates too, which are no code points.
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 10 }).map((units) => String.fromCharCode(...units)),
  canonicalHost.map(({ host }) => host),
  name.map((text) => `${text.toUpperCase()}.`),
)

const tryParse = (host: string, at = 80): Destination | undefined => {
  try {
    return parseDestination(host, at)
  } catch (error) {
    if (!(error instanceof SocksError)) throw error
    expect(error.code).toBe('ERR_SOCKS_INVALID_HOST')
    expect(error.replyCode).toBe(host === '' ? 1 : 4)
    return undefined
  }
}

describe('parseDestination', () => {
  it('throws nothing but a SocksError, and what it returns is canonical', () => {
    let parsed = 0
    fc.assert(
      fc.property(anyHost, port, (host, at) => {
        const destination = tryParse(host, at)
        if (destination === undefined) return
        parsed++
        const { type, host: canonical } = destination
        expect(isIP(canonical)).toBe({ domain: 0, ipv4: 4, ipv6: 6 }[type])
        expect(canonical).toMatch(/^[0-9a-z_.:-]{1,253}$/)
        expect(canonical.endsWith('.')).toBe(false)
        expect(destination.port).toBe(at)
        expect(Object.isFrozen(destination)).toBe(true)
        // Whatever was parsed can be sent.
        expect(encodeAddress(destination).length).toBeGreaterThanOrEqual(5)
      }),
      { numRuns: 4_000 },
    )
    expect(parsed).toBeGreaterThan(500)
  })

  it('canonical text is a fixed point', () => {
    fc.assert(
      fc.property(anyHost, port, (host, at) => {
        const once = tryParse(host, at)
        if (once !== undefined) expect(parseDestination(once.host, at)).toEqual(once)
      }),
      { numRuns: 2_000 },
    )
    fc.assert(
      fc.property(canonicalHost, port, (host, at) => {
        expect(parseDestination(host.host, at)).toEqual({ ...host, port: at })
      }),
    )
  })

  it('no name that resolvers take for a number gets through', () => {
    // Each of them is loopback to inet_aton, and so to a socket that is given the name.
    const octet = fc.constantFrom('127', '0177', '0x7f', '0X7F')
    const rest = fc.constantFrom('', '.1', '.0.1', '.0x1', '.0.0x1', '.00.00.01', '.0x0.0.1', '.65793', '.0.0.0001')
    fc.assert(
      fc.property(octet, rest, fc.constantFrom('', '.'), (first, others, dot) => {
        expect(tryParse(first + others + dot)).toBeUndefined()
      }),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.constantFrom(10, 16, 8), (value, radix) => {
        const prefix = { 10: '', 16: '0x', 8: '0' }[radix] ?? ''
        expect(tryParse(prefix + value.toString(radix))).toBeUndefined()
      }),
    )
  })

  it('agrees with the URL parser on every IP literal', () => {
    fc.assert(
      fc.property(ipv6Bytes, (sixteen) => {
        const text = formatIPv6(sixteen)
        const { type, host } = parseDestination(text, 80)
        if (type === 'ipv6') expect(new URL(`http://[${text}]`).hostname).toBe(`[${host}]`)
        else expect(text).toBe(`::ffff:${host}`)
        expect(parseDestination(`[${text.toUpperCase()}]`, 80)).toEqual({ type, host, port: 80 })
      }),
    )
  })

  it('a name is what the URL parser makes of it, unless that is an address', () => {
    fc.assert(
      fc.property(trickyHost, (host) => {
        const destination = tryParse(host)
        if (destination?.type !== 'domain') return
        const url = URL.canParse(`http://${destination.host}/`) ? new URL(`http://${destination.host}/`).hostname : ''
        // Punycode that is not valid makes no URL; everything else must be the same name, and never an IPv4 address.
        if (url !== '') expect(url).toBe(destination.host)
        expect(isIPv4(url)).toBe(false)
      }),
      { numRuns: 2_000 },
    )
  })

  it('refuses every port that is none', () => {
    for (const at of NOT_PORTS) {
      const error = socksError(() => parseDestination('example.com', at), 'ERR_SOCKS_INVALID_PORT')
      expect(error.replyCode).toBe(1)
    }
  })

  it('a refusal never repeats the host', () => {
    for (const host of ['secret\0', 'secret name', '[secret]', 'secret:', 'secret.1', 'secret'.repeat(100)]) {
      const error = socksError(() => parseDestination(host, 80), 'ERR_SOCKS_INVALID_HOST')
      expect(`${error.message} ${JSON.stringify(error)} ${String(error.stack)}`.includes('secret')).toBe(false)
    }
  })
})

describe('canonicalIP', () => {
  it('reads IP literals alone, and writes them as a destination does', () => {
    fc.assert(
      fc.property(anyHost, (host) => {
        const literal = canonicalIP(host)
        expect(literal !== undefined).toBe(isIP(host) !== 0 && !host.includes('%'))
        if (literal !== undefined) expect({ ...literal, port: 80 }).toEqual(parseDestination(host, 80))
      }),
      { numRuns: 1_000 },
    )
    fc.assert(
      fc.property(ipv6Bytes, (sixteen) => {
        const text = formatIPv6(sixteen)
        expect({ ...canonicalIP(text), port: 80 }).toEqual(parseDestination(text, 80))
      }),
    )
    expect(canonicalIP('::ffff:127.0.0.1')).toEqual({ type: 'ipv4', host: '127.0.0.1' })
    for (const text of ['[::1]', '127.0.0.1.', 'fe80::1%eth0', '127.1', '']) expect(canonicalIP(text)).toBeUndefined()
  })
})

describe('formatDestination', () => {
  it('writes what a URL holds between the slashes', () => {
    fc.assert(
      fc.property(canonicalHost, fc.integer({ min: 1, max: 0xffff }), ({ type, host }, at) => {
        // A scheme without a default port, which the URL parser would drop.
        const url = new URL(`socks5://${formatDestination({ type, host, port: at })}`)
        expect(url.hostname).toBe(type === 'ipv6' ? `[${host}]` : host)
        expect(url.port).toBe(String(at))
      }),
    )
  })
})

describe('toDestination', () => {
  it('K57 an IPv4-mapped address of ATYP 04 is its IPv4 address', () => {
    fc.assert(
      fc.property(ipv4Bytes, port, (four, at) => {
        const host = formatIPv6(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...four))
        expect(toDestination({ type: 'ipv6', host, port: at })).toEqual({
          type: 'ipv4',
          host: four.join('.'),
          port: at,
        })
      }),
    )
  })

  it('K57 other embeddings stay IPv6: only their kind is that of the IPv4 address', () => {
    for (const host of ['64:ff9b::7f00:1', '2002:7f00:1::', '::7f00:1', '::ffff:0:7f00:1']) {
      expect(toDestination({ type: 'ipv6', host, port: 80 })).toEqual({ type: 'ipv6', host, port: 80 })
    }
  })

  it('S53 a name that is an IP literal is that address', () => {
    expect(toDestination({ type: 'domain', host: '127.0.0.1', port: 80 }).type).toBe('ipv4')
    expect(toDestination({ type: 'domain', host: '::1', port: 80 })).toEqual({ type: 'ipv6', host: '::1', port: 80 })
  })

  it('an address whose literal is malformed is refused', () => {
    socksError(() => toDestination({ type: 'ipv6', host: 'localhost', port: 80 }), 'ERR_SOCKS_INVALID_HOST')
    socksError(() => toDestination({ type: 'ipv4', host: '127.1', port: 80 }), 'ERR_SOCKS_INVALID_HOST')
  })

  it('has an answer to every byte that a wire name can hold', () => {
    for (let byte = 0; byte <= 0xff; byte++) {
      const character = String.fromCharCode(...bytes(byte.toString(16).padStart(2, '0')))
      const allowed = /[0-9a-z_-]/i.test(character)
      for (const host of [`a${character}b`, `${character}b`, `a.b${character}c`]) {
        // A dot makes another label; a colon, brackets and digits at the end are other matters, told above.
        if (character === '.' && host.startsWith('.') === false) continue
        expect(tryParse(host) !== undefined, JSON.stringify(host)).toBe(allowed)
      }
    }
  })
})
