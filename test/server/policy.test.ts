import { duplexPair } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { classifyIP, formatIPv4, parseDestination, parseIP } from '../../src/codec/index.js'
import { authorize } from '../../src/server/authorize.js'
import { type EgressCandidate, type EgressPolicy, egress } from '../../src/server/egress.js'
import { createOutbound } from '../../src/server/outbound.js'
import { ruleOf, type Subject } from '../../src/server/patterns.js'
import type { OutboundRequest } from '../../src/server/request.js'
import { ipv4Bytes } from '../support/arbitraries.js'

type Command = OutboundRequest['command']

function requestFor(host: string, port: number, command: Command = 'connect', requested?: string): OutboundRequest {
  return {
    ...parseDestination(host, port),
    command,
    identity: {},
    clientAddress: '192.0.2.99',
    session: undefined,
    signal: new AbortController().signal,
    requested: requested === undefined ? undefined : parseDestination(requested, 21),
  }
}

function candidateFor(host: string, port: number): EgressCandidate {
  const { type, host: canonical } = parseDestination(host, port)
  if (type === 'domain') throw new TypeError(`${host} is no address`)
  return { type, host: canonical, port, kind: classifyIP(parseIP(canonical) ?? new Uint8Array()) }
}

function verdict(policy: EgressPolicy, host: string, port = 443, command: Command = 'connect'): boolean {
  return policy(candidateFor(host, port), requestFor(host, port, command))
}

const INVALID = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })

describe('egress.allow', () => {
  it('allows what a pattern matches, and denies all else', () => {
    const policy = egress.allow(['10.1.2.3:5432', '192.0.2.0/24', '[2001:db8::]/32:80,443', '*:8443'])
    for (const [host, port] of [
      ['10.1.2.3', 5432],
      ['::ffff:10.1.2.3', 5432],
      ['192.0.2.200', 1],
      ['2001:db8::9', 443],
      ['8.8.8.8', 8443],
    ] as const) {
      expect(verdict(policy, host, port), host).toBe(true)
    }
    for (const [host, port] of [
      ['10.1.2.3', 5433],
      ['10.1.2.4', 5432],
      ['192.0.3.1', 1],
      ['2001:db8::9', 444],
      ['2001:db9::9', 443],
      ['8.8.8.8', 443],
    ] as const) {
      expect(verdict(policy, host, port), host).toBe(false)
    }
  })

  it('leaves the decision about all else to another policy', () => {
    const policy = egress.allow(['10.1.2.3:5432'], egress.publicOnly())
    expect(verdict(policy, '10.1.2.3', 5432)).toBe(true)
    expect(verdict(policy, '8.8.8.8')).toBe(true)
    expect(verdict(policy, '10.1.2.3', 22)).toBe(false)
    expect(verdict(policy, '10.1.2.4', 5432)).toBe(false)
    const asked = vi.fn(() => true)
    const [candidate, request] = [candidateFor('10.0.0.1', 1), requestFor('a.example', 1)]
    expect(egress.allow(['10.1.2.3'], asked)(candidate, request)).toBe(true)
    expect(asked.mock.calls).toEqual([[candidate, request]])
    egress.allow(['10.0.0.0/8'], asked)(candidate, request)
    expect(asked).toHaveBeenCalledTimes(1)
  })

  it('S57 does not allow an IPv6 address for the IPv4 address that it carries', () => {
    for (const host of ['64:ff9b::a01:203', '2002:a01:203::1', '::10.1.2.3']) {
      expect(verdict(egress.allow(['10.1.2.3']), host), host).toBe(false)
      expect(verdict(egress.allow(['10.0.0.0/8'], egress.publicOnly()), host), host).toBe(false)
    }
    expect(verdict(egress.allow(['64:ff9b::/96']), '64:ff9b::a01:203')).toBe(true)
  })

  it('without patterns denies, or is the other policy', () => {
    expect(verdict(egress.allow([]), '8.8.8.8')).toBe(false)
    expect(verdict(egress.allow([], egress.publicOnly()), '8.8.8.8')).toBe(true)
    expect(verdict(egress.allow([], egress.publicOnly()), '10.0.0.1')).toBe(false)
  })
})

describe('egress.deny', () => {
  it('denies what a pattern matches, and leaves all else to another policy, by default noLocal', () => {
    const policy = egress.deny(['192.0.2.0/24', '8.8.8.8:53'])
    expect(verdict(policy, '127.0.0.1')).toBe(false)
    for (const [host, port] of [
      ['192.0.2.1', 443],
      ['8.8.8.8', 53],
    ] as const) {
      expect(verdict(policy, host, port), host).toBe(false)
    }
    for (const host of ['8.8.8.8', '10.0.0.1', '192.0.3.1']) expect(verdict(policy, host), host).toBe(true)
    const narrow = egress.deny(['8.8.8.8'], egress.publicOnly())
    expect(verdict(narrow, '8.8.8.8')).toBe(false)
    expect(verdict(narrow, '8.8.4.4')).toBe(true)
    expect(verdict(narrow, '127.0.0.1')).toBe(false)
    expect(verdict(egress.deny([], egress.any()), '127.0.0.1')).toBe(true)
    expect(verdict(egress.deny([]), '127.0.0.1')).toBe(false)
    expect(verdict(egress.deny([], egress.noLocal()), '127.0.0.1')).toBe(false)
  })

  it('S57 denies an address in every form that carries it', () => {
    const forms = ['203.0.113.7', '::ffff:203.0.113.7', '64:ff9b::cb00:7107', '2002:cb00:7107::1', '::203.0.113.7']
    for (const host of forms) {
      expect(verdict(egress.deny(['203.0.113.0/24'], egress.any()), host), host).toBe(false)
      expect(verdict(egress.deny(['203.0.112.0/24'], egress.any()), host), host).toBe(true)
    }
  })
})

describe('egress.allow and egress.deny', () => {
  const helpers = [
    ['allow', egress.allow],
    ['deny', egress.deny],
  ] as const

  it.each(helpers)('refuse a name and say where names are judged: %s', (verb, helper) => {
    for (const name of ['example.com', '.example.com:443', '*.example.com', 'localhost']) {
      const attempt = (): EgressPolicy => helper(['10.0.0.0/8', name])
      expect(attempt).toThrow(INVALID)
      expect(attempt).toThrow(JSON.stringify(name))
      expect(attempt).toThrow(`authorize.${verb}`)
    }
  })

  it.each(helpers)('check what they are given at once: %s', (_verb, helper) => {
    for (const pattern of ['10.0.0.1/8', '127.1', 'a b', '10.0.0.1:0']) expect(() => helper([pattern])).toThrow(INVALID)
    // @ts-expect-error no array
    expect(() => helper('10.0.0.1')).toThrow(INVALID)
    // @ts-expect-error no array
    expect(() => helper()).toThrow(INVALID)
    // @ts-expect-error no policy
    expect(() => helper([], 'any')).toThrow(INVALID)
    // @ts-expect-error no policy
    expect(() => helper([], null)).toThrow(INVALID)
  })

  it.each(helpers)('keep nothing of the array, and have its name: %s', (verb, helper) => {
    const patterns = ['10.0.0.1']
    const policy = helper(patterns)
    patterns[0] = '10.0.0.2'
    patterns.push('*')
    expect(policy.name).toBe(verb)
    expect(verdict(policy, '10.0.0.1')).toBe(verb === 'allow')
    expect(verdict(policy, '10.0.0.2')).toBe(verb === 'deny')
  })

  it('compare ports for CONNECT and UDP alone', () => {
    for (const command of ['connect', 'udp'] as const) {
      expect(verdict(egress.allow(['10.0.0.1:53']), '10.0.0.1', 54, command)).toBe(false)
      expect(verdict(egress.deny(['10.0.0.1:53']), '10.0.0.1', 54, command)).toBe(true)
    }
    for (const command of ['bind', 'resolve', 'resolve-ptr'] as const) {
      expect(verdict(egress.allow(['10.0.0.1:53']), '10.0.0.1', 54, command)).toBe(true)
      expect(verdict(egress.deny(['10.0.0.1:53']), '10.0.0.1', 0, command)).toBe(false)
    }
  })

  it('are each the reverse of the other where no address carries another', () => {
    const range = fc.tuple(ipv4Bytes, fc.integer({ min: 0, max: 32 })).map(([four, bits]) => {
      const whole = BigInt(`0x${Buffer.from(four).toString('hex')}`)
      const rest = BigInt(32 - bits)
      const network = ((whole >> rest) << rest).toString(16).padStart(8, '0')
      return `${formatIPv4(Buffer.from(network, 'hex'))}/${bits}`
    })
    fc.assert(
      fc.property(fc.array(range, { maxLength: 4 }), ipv4Bytes, (patterns, four) => {
        const host = formatIPv4(four)
        expect(verdict(egress.allow(patterns), host)).toBe(!verdict(egress.deny(patterns, egress.any()), host))
        expect(verdict(egress.allow(patterns, egress.deny(patterns, egress.any())), host)).toBe(true)
        expect(verdict(egress.deny(patterns, egress.allow(patterns)), host)).toBe(false)
      }),
    )
  })
})

describe('egress.publicOnly', () => {
  it('S57 judges an address by what it is for, and by the IPv4 address it carries', () => {
    const policy = egress.publicOnly()
    const inner: readonly (readonly [kind: string, four: string, isPublic: boolean])[] = [
      ['public', '8.8.8.8', true],
      ['public, below the shared range', '100.63.255.255', true],
      ['carrier-grade NAT', '100.64.0.0', false],
      ['carrier-grade NAT', '100.127.255.255', false],
      ['public, above the shared range', '100.128.0.0', true],
      ['documentation', '192.0.2.1', false],
      ['documentation', '198.51.100.255', false],
      ['documentation', '203.0.113.0', false],
      ['multicast', '224.0.0.1', false],
      ['multicast', '239.255.255.255', false],
      ['broadcast', '255.255.255.255', false],
      ['loopback', '127.0.0.1', false],
      ['metadata', '169.254.169.254', false],
      ['private', '10.0.0.1', false],
      ['unspecified', '0.0.0.0', false],
    ]
    for (const [kind, four, isPublic] of inner) {
      const hex = Buffer.from(parseIP(four) ?? []).toString('hex')
      const [high, low] = [hex.slice(0, 4), hex.slice(4)]
      for (const host of [four, `::ffff:${four}`, `64:ff9b::${high}:${low}`, `2002:${high}:${low}::1`]) {
        expect(verdict(policy, host), `${kind}: ${host}`).toBe(isPublic)
      }
    }
    for (const host of ['2001:db8::1', '3fff::1', 'ff02::1', 'ff0e::1', 'fe80::1', 'fd00::1', '::1', '::', '2001::1']) {
      expect(verdict(policy, host), host).toBe(false)
    }
    expect(verdict(policy, '2606:4700::1111')).toBe(true)
  })
})

describe('authorize', () => {
  const allowed = (patterns: readonly string[], subject: Subject): boolean => authorize.allow(patterns)(subject)
  const denied = (patterns: readonly string[], subject: Subject): boolean => !authorize.deny(patterns)(subject)

  it('judges a name by names, an address by addresses, and both by *', () => {
    for (const [patterns, host, port, expected] of [
      [['.example.com:443'], 'www.example.com', 443, true],
      [['.example.com:443'], 'www.example.com', 80, false],
      [['.example.com'], 'example.com.evil.org', 443, false],
      [['.example.com'], 'evilexample.com', 443, false],
      [['*.example.com'], 'example.com', 443, false],
      [['10.0.0.0/8'], '10.1.2.3', 443, true],
      [['10.0.0.0/8'], '::ffff:10.1.2.3', 443, true],
      [['0.0.0.0/0', '::/0'], 'example.com', 443, false],
      [['example.com', '.com'], '192.0.2.1', 443, false],
      [['*:443'], 'example.com', 443, true],
      [['*:443'], '192.0.2.1', 443, true],
      [['*:443'], '192.0.2.1', 80, false],
      [[], 'example.com', 443, false],
    ] as const) {
      expect(allowed(patterns, requestFor(host, port)), `${patterns} ${host}:${port}`).toBe(expected)
      expect(denied(patterns, requestFor(host, port)), `${patterns} ${host}:${port}`).toBe(expected)
    }
  })

  it('S57 denies an address in every form that carries it, and allows it in its own alone', () => {
    for (const host of ['64:ff9b::a01:203', '2002:a01:203::1', '::10.1.2.3']) {
      expect(allowed(['10.0.0.0/8'], requestFor(host, 443)), host).toBe(false)
      expect(denied(['10.0.0.0/8'], requestFor(host, 443)), host).toBe(true)
    }
  })

  it('does not compare the ports of look-ups', () => {
    for (const command of ['resolve', 'resolve-ptr'] as const) {
      for (const port of [0, 80]) {
        for (const [pattern, host] of [
          ['.example.com:443', 'a.example.com'],
          ['10.0.0.0/8:443', '10.1.2.3'],
        ] as const) {
          expect(allowed([pattern], requestFor(host, port, command))).toBe(true)
          expect(denied([pattern], requestFor(host, port, command))).toBe(true)
        }
        expect(allowed(['.example.com:443'], requestFor('other.example', port, command))).toBe(false)
      }
    }
    expect(allowed(['.example.com:53'], requestFor('a.example.com', 54, 'udp'))).toBe(false)
  })

  it('S97 a BIND request is judged without its port', () => {
    for (const port of [0, 21, 40_000]) {
      expect(allowed(['ftp.example.com:21'], requestFor('ftp.example.com', port, 'bind'))).toBe(true)
      expect(denied(['ftp.example.com:21'], requestFor('ftp.example.com', port, 'bind'))).toBe(true)
      expect(allowed(['ftp.example.com:21'], requestFor('ftp.example.org', port, 'bind'))).toBe(false)
    }
  })

  it('S97 a BIND request for any peer needs a pattern for it', () => {
    for (const host of ['0.0.0.0', '::']) {
      expect(allowed(['10.0.0.0/8', '.example.com', '2001:db8::/32'], requestFor(host, 0, 'bind'))).toBe(false)
      expect(allowed(['10.0.0.0/8', host], requestFor(host, 0, 'bind'))).toBe(true)
      expect(allowed(['*:21'], requestFor(host, 0, 'bind'))).toBe(true)
    }
    expect(denied(['0.0.0.0'], requestFor('0.0.0.0', 0, 'bind'))).toBe(true)
  })

  it('S97 a BIND peer is judged by its address, or by what was asked for', () => {
    const peer = (requested: string): OutboundRequest => requestFor('10.1.2.3', 49_152, 'bind', requested)
    expect(allowed(['10.0.0.0/8:21'], peer('ftp.example.com'))).toBe(true)
    expect(allowed(['.example.com:21'], peer('ftp.example.com'))).toBe(true)
    expect(allowed(['192.0.2.0/24'], peer('192.0.2.7'))).toBe(true)
    expect(allowed(['*'], peer('ftp.example.com'))).toBe(true)
    expect(allowed(['.example.org', '192.0.2.0/24'], peer('ftp.example.com'))).toBe(false)
    expect(denied(['10.0.0.0/8:21'], peer('ftp.example.com'))).toBe(true)
    expect(denied(['.example.com:21'], peer('ftp.example.com'))).toBe(true)
    expect(denied(['.example.org', '192.0.2.0/24'], peer('ftp.example.com'))).toBe(false)
  })

  it('S97 a BIND peer of a request for any peer is judged by its own address alone', () => {
    for (const requested of ['0.0.0.0', '::', '::ffff:0.0.0.0']) {
      const patterns = ['0.0.0.0', '::', '10.0.0.0/8']
      expect(allowed(patterns, requestFor('10.1.2.3', 49_152, 'bind', requested))).toBe(true)
      expect(allowed(patterns, requestFor('8.8.8.8', 49_152, 'bind', requested))).toBe(false)
      expect(denied(patterns, requestFor('10.1.2.3', 49_152, 'bind', requested))).toBe(true)
      expect(denied(patterns, requestFor('8.8.8.8', 49_152, 'bind', requested))).toBe(false)
    }
  })

  it('is the reverse of the other one for every name', () => {
    const name = fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
    const pattern = fc.tuple(fc.constantFrom('', '.', '*.'), name).map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 4 }), name, (patterns, host) => {
        expect(allowed(patterns, requestFor(host, 443))).toBe(denied(patterns, requestFor(host, 443)))
      }),
    )
  })

  it('keeps nothing of the array, checks it at once, and has the name of the rule', () => {
    for (const [verb, helper] of [
      ['allow', authorize.allow],
      ['deny', authorize.deny],
    ] as const) {
      const patterns = ['a.example']
      const rule = helper(patterns)
      patterns[0] = 'b.example'
      expect(rule(requestFor('a.example', 1))).toBe(verb === 'allow')
      expect(rule(requestFor('b.example', 1))).toBe(verb === 'deny')
      expect(rule.name).toBe(verb)
      for (const bad of ['localhost\0', 'bücher.example', '127.1', 'a.example:0']) {
        expect(() => helper([bad])).toThrow(INVALID)
      }
      // @ts-expect-error no array
      expect(() => helper('a.example')).toThrow(INVALID)
    }
  })
})

describe('an outbound with these rules', () => {
  /** What becomes of a target: the host that is dialed, or the code of the error. */
  async function outcome(options: Parameters<typeof createOutbound>[0], host: string, port = 443): Promise<string> {
    const dialed: string[] = []
    const outbound = createOutbound({
      ...options,
      dial: (request) => {
        dialed.push(request.host)
        return duplexPair()[0]
      },
    })
    try {
      await outbound.connect({ host, port })
    } catch (error) {
      expect(dialed).toEqual([])
      return error instanceof Error ? String(Reflect.get(error, 'code')) : 'no error'
    }
    return dialed.join()
  }

  it('S49 S51 S54 takes no spelling of a host past a list', async () => {
    const allow = authorize.allow(['.example.com'])
    const deny = authorize.deny(['.example.com', '127.0.0.0/8'])
    for (const host of ['www.example.com', 'WWW.Example.COM.']) {
      expect(await outcome({ authorize: allow }, host)).toBe('www.example.com')
      expect(await outcome({ authorize: deny }, host)).toBe('ERR_SOCKS_NOT_ALLOWED')
    }
    for (const host of ['127.0.0.1', '::ffff:127.0.0.1', '[::ffff:7f00:1]', '127.0.0.1.']) {
      expect(await outcome({ authorize: allow }, host), host).toBe('ERR_SOCKS_NOT_ALLOWED')
      expect(await outcome({ authorize: deny }, host), host).toBe('ERR_SOCKS_NOT_ALLOWED')
    }
    for (const host of ['localhost\0.example.com', '127.1', '0x7f000001', '2130706433', 'evil.org/.example.com']) {
      for (const rule of [allow, deny]) {
        expect(await outcome({ authorize: rule }, host), host).toBe('ERR_SOCKS_INVALID_HOST')
      }
    }
  })

  it('judges names before they are looked up and each address after it', async () => {
    const lookup = vi.fn((host: string, _options: unknown, callback: (error: null, address: string) => void) =>
      callback(null, host === 'db.example' ? '10.1.2.3' : '10.9.9.9'),
    )
    const options = {
      authorize: authorize.allow(['.example', '8.8.8.8']),
      egress: egress.allow(['10.1.2.3:5432'], egress.publicOnly()),
      resolve: true,
      lookup,
    }
    expect(await outcome(options, 'db.example', 5432)).toBe('db.example')
    expect(await outcome(options, '8.8.8.8')).toBe('8.8.8.8')
    expect(await outcome(options, 'db.example', 22)).toBe('ERR_SOCKS_EGRESS_DENIED')
    expect(await outcome(options, 'other.example', 5432)).toBe('ERR_SOCKS_EGRESS_DENIED')
    expect(lookup).toHaveBeenCalledTimes(3)
    expect(await outcome(options, 'db.other', 5432)).toBe('ERR_SOCKS_NOT_ALLOWED')
    expect(await outcome(options, '10.1.2.3', 5432)).toBe('ERR_SOCKS_NOT_ALLOWED')
    expect(lookup).toHaveBeenCalledTimes(3)
  })
})

describe('ruleOf', () => {
  it('tells the pattern that decides, or the rule that the decision is left to', () => {
    const inside = candidateFor('10.1.2.3', 5432)
    const outside = candidateFor('8.8.8.8', 443)
    const allow = egress.allow(['192.0.2.1', '10.0.0.0/8:5432'], egress.publicOnly())
    expect(ruleOf(allow, inside)).toBe('allow 10.0.0.0/8:5432')
    expect(ruleOf(allow, outside)).toBe('publicOnly')
    expect(ruleOf(egress.allow(['10.0.0.0/8']), outside)).toBe('allow')
    expect(ruleOf(egress.deny(['10.0.0.0/8']), inside)).toBe('deny 10.0.0.0/8')
    expect(ruleOf(egress.deny(['10.0.0.0/8']), outside)).toBe('noLocal')
    expect(ruleOf(egress.deny(['10.0.0.0/8'], allow), outside)).toBe('publicOnly')
    expect(ruleOf(egress.deny(['192.0.2.1'], allow), inside)).toBe('allow 10.0.0.0/8:5432')
    expect(
      ruleOf(
        egress.allow([], () => true),
        outside,
      ),
    ).toBe('(unnamed)')
  })

  it('tells what a rule for requests decides by, as that rule looks at it', () => {
    const rule = authorize.allow(['*.Example.com:443', 'ftp.example.org:21'])
    expect(ruleOf(rule, requestFor('a.example.com', 443))).toBe('allow *.Example.com:443')
    expect(ruleOf(rule, requestFor('a.example.com', 80))).toBe('allow')
    expect(ruleOf(rule, requestFor('a.example.com', 0, 'resolve'))).toBe('allow *.Example.com:443')
    expect(ruleOf(rule, requestFor('10.0.0.1', 9, 'bind', 'ftp.example.org'))).toBe('allow ftp.example.org:21')
    expect(ruleOf(authorize.deny(['*:25']), requestFor('a.example', 25))).toBe('deny *:25')
    expect(ruleOf(authorize.deny(['*:25']), requestFor('a.example', 26))).toBe('deny')
  })

  it('leaves no mark on the function', () => {
    for (const rule of [egress.allow(['*']), egress.deny(['*']), authorize.allow(['*']), authorize.deny(['*'])]) {
      expect(Object.keys(rule)).toEqual([])
      expect(Reflect.ownKeys(rule).sort()).toEqual(Reflect.ownKeys(() => true).sort())
    }
  })
})
