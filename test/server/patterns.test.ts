import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Destination, formatIPv4, formatIPv6, parseDestination } from '../../src/codec/index.js'
import { type MatchOptions, PatternList, parsePattern, ruleOf } from '../../src/server/patterns.js'
import { anyText, ipv4Bytes, ipv6Bytes } from '../support/arbitraries.js'

function match(patterns: readonly string[], host: string, port = 443, options?: MatchOptions): string | undefined {
  return new PatternList(patterns).match(parseDestination(host, port), options)
}

function refusal(pattern: unknown): unknown {
  try {
    // `as`: what a caller without types may pass.
    parsePattern(pattern as string)
  } catch (error) {
    return error
  }
  return undefined
}

describe('a pattern for names', () => {
  it.each([
    ['example.com', ['example.com'], ['www.example.com', 'com', 'notexample.com']],
    ['*.example.com', ['www.example.com', 'a.b.example.com'], ['example.com', 'com']],
    ['.example.com', ['example.com', 'www.example.com', 'a.b.example.com'], ['com']],
    ['.com', ['com', 'example.com', 'a.b.com'], ['example.org', 'command', 'telecom']],
    ['localhost', ['localhost'], ['a.localhost', 'localhost.localdomain']],
    ['_srv._tcp.a-b.example', ['_srv._tcp.a-b.example'], ['srv._tcp.a-b.example']],
  ])('%s matches whole labels alone', (pattern, inside, outside) => {
    for (const host of inside) expect(match([pattern], host), host).toBe(pattern)
    for (const host of outside) expect(match([pattern], host), host).toBeUndefined()
    for (const evil of ['notexample.com', 'evilexample.com', 'example.com.evil.org', 'example-com', 'example.comm']) {
      expect(match(['example.com', '*.example.com', '.example.com'], evil), evil).toBeUndefined()
    }
  })

  it.each(['EXAMPLE.com', 'example.com.', '.eXample.COM.', '.example.com'])(
    'S51 %s matches without regard to case and one trailing dot',
    (pattern) => {
      for (const host of ['example.com', 'Example.Com', 'example.com.', 'EXAMPLE.COM.']) {
        expect(match([pattern], host)).toBe(pattern)
      }
    },
  )

  it('matches names alone, and a pattern for addresses matches addresses alone', () => {
    expect(match(['.example.com', 'com', '.a1'], '192.0.2.1')).toBeUndefined()
    expect(match(['0.0.0.0/0', '::/0'], 'example.com')).toBeUndefined()
    for (const host of ['example.com', 'localhost', '192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1']) {
      expect(match(['*'], host)).toBe('*')
    }
  })

  it.each([
    ['nul', 'localhost\0.example.com'],
    ['a NUL at its end', 'example.com\0'],
    ['space around it', ' example.com'],
    ['space behind it', 'example.com '],
    ['a line end', 'example.com\n'],
    ['nothing', ''],
    ['a dot', '.'],
    ['two dots', '..'],
    ['a star and a dot', '*.'],
    ['two trailing dots', 'example.com..'],
    ['an empty label', 'a..b'],
    ['an empty label below', '*..example.com'],
    ['two dots before', '..example.com'],
    ['a star in a label', 'a*.example.com'],
    ['a star in the middle', 'a.*.example.com'],
    ['two stars', '*.*.example.com'],
    ['a star without its dot', '*example.com'],
    ['a star at the end', 'example.*'],
    ['a scheme', 'https://example.com'],
    ['a path', 'example.com/path'],
    ['a user', 'user@example.com'],
    ['a long label', `${'a'.repeat(64)}.example`],
    ['a long name', `${'a.'.repeat(127)}a`],
    ['a prefix length', 'example.com/24'],
    ['a prefix length for everything', '*/0'],
    ['a regular expression', '/example/'],
  ])('with %s is refused, and repeated in the message', (_what, pattern) => {
    expect(refusal(pattern)).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    expect(refusal(pattern)).toMatchObject({ message: expect.stringContaining(JSON.stringify(pattern)) })
  })

  it.each(['bücher.example', '.例え.jp', '*.exampl\u212a.com', 'example。com', '１.example'])(
    '%s, which is not ASCII, is refused with a word on punycode',
    (pattern) => {
      expect(refusal(pattern)).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining('punycode'),
      })
      expect(match(['.xn--bcher-kva.example'], 'www.xn--bcher-kva.example')).toBe('.xn--bcher-kva.example')
    },
  )

  it('says where a star may stand', () => {
    for (const pattern of ['*example.com', 'a.*.example', '*.*.example', '10.*', '**']) {
      expect(refusal(pattern), pattern).toMatchObject({ message: expect.stringContaining('* stands alone') })
    }
  })

  it('that is no string is refused, and so is a list that is no array', () => {
    for (const pattern of [undefined, null, 443, /a/, ['example.com'], {}]) {
      expect(refusal(pattern)).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    }
    for (const list of [undefined, null, 'example.com', new Set(['example.com']), { 0: 'a', length: 1 }]) {
      // @ts-expect-error what a caller without types may pass
      expect(() => new PatternList(list)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    }
    // biome-ignore lint/suspicious/noSparseArray: a hole is no pattern
    expect(() => new PatternList(['a.example', , 'b.example'] as string[])).toThrow('must be a string')
  })

  it('throws nothing but a TypeError that repeats it, whatever the text', () => {
    const part = fc.oneof(
      fc.constantFrom('*', '.', ':', '/', '[', ']', '-', ',', '::', '%', '0', '443', '32', '\0', ' ', 'example.com'),
      fc.constantFrom('10.0.0.0', '2001:db8::', 'ffff', '[::1]', '::ffff:1.2.3.4', '0x7f', 'é', '\ud800'),
    )
    const tricky = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(''))
    let parsed = 0
    fc.assert(
      fc.property(fc.oneof({ weight: 3, arbitrary: tricky }, anyText(20)), (text) => {
        const error = refusal(text)
        if (error === undefined) parsed++
        else expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
      }),
      { numRuns: 5_000 },
    )
    expect(parsed).toBeGreaterThan(50)
  })
})

describe('a pattern for addresses', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:DB8:0::1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8:0:0:0:0:0:1'],
    ['10.0.0.0/8', '10.255.255.255'],
    ['2001:db8::/32', '2001:db8:ffff::1'],
    ['[2001:db8::]/32', '2001:db8:ffff::1'],
    ['0.0.0.0/0', '203.0.113.9'],
    ['::/0', '2001:db8::1'],
  ])('%s matches %s', (pattern, host) => {
    expect(match([pattern], host)).toBe(pattern)
  })

  it('S57 is IPv4 where it is IPv4-mapped, as addresses are', () => {
    for (const pattern of ['10.0.0.1', '::ffff:10.0.0.1', '[::ffff:a00:1]', '::ffff:10.0.0.0/104']) {
      for (const host of ['10.0.0.1', '::ffff:10.0.0.1', '::ffff:a00:1']) expect(match([pattern], host)).toBe(pattern)
      expect(match([pattern], '11.0.0.1')).toBeUndefined()
      // Not canonical: no rule is shown one, but a list need not rely on it.
      expect(new PatternList([pattern]).match({ type: 'ipv6', host: '::ffff:10.0.0.1', port: 1 })).toBe(pattern)
    }
    expect(match(['::ffff:0.0.0.0/96'], '203.0.113.1')).toBe('::ffff:0.0.0.0/96')
    for (const pattern of ['::/0', '::/80', '::ffff:0:0:0/96']) {
      expect(match([pattern], '::ffff:10.0.0.1')).toBeUndefined()
    }
  })

  it('S57 of IPv4 does not match an IPv6 address that carries an IPv4 one, unless asked to', () => {
    const carriers = ['64:ff9b::a00:1', '2002:a00:1::1', '::ffff:0:a00:1', '::10.0.0.1']
    for (const host of carriers) {
      for (const pattern of ['10.0.0.0/8', '10.0.0.1', '0.0.0.0/0', '::ffff:10.0.0.1']) {
        expect(match([pattern], host), host).toBeUndefined()
        expect(match([pattern], host, 443, { embedded: true }), host).toBe(pattern)
      }
      expect(match(['11.0.0.0/8'], host, 443, { embedded: true })).toBeUndefined()
      expect(match(['::/0'], host, 443, { embedded: true })).toBe('::/0')
    }
    for (const host of ['::1', '2001:db8::a00:1', '64:ff9b:1::a00:1', '64:ff9b::1:a00:1', '2003:a00:1::']) {
      expect(match(['0.0.0.0/0'], host, 443, { embedded: true }), host).toBeUndefined()
    }
  })

  it.each([
    ['10.0.0.1/8', '10.0.0.0/8'],
    ['10.0.0.0/7', undefined],
    ['192.0.2.1/31', '192.0.2.0/31'],
    ['192.0.2.128/24', '192.0.2.0/24'],
    ['0.0.0.1/0', '0.0.0.0/0'],
    ['2001:db8::1/64', '2001:db8::/64'],
    ['2001:db8::/31', undefined],
    ['2001:db9::/31', '2001:db8::/31'],
    ['[::1]/0', '::/0'],
    ['::ffff:10.0.0.0/8', '::/8'],
    ['::ffff:10.0.0.1/104', '::ffff:10.0.0.0/104'],
  ])('%s is refused where bits are set beyond the prefix, and the range is told', (pattern, meant) => {
    if (meant === undefined) expect(refusal(pattern)).toBeUndefined()
    else expect(refusal(pattern)).toMatchObject({ message: expect.stringContaining(`is ${meant} meant`) })
  })

  it.each([
    '127.1',
    '0',
    '0x7f000001',
    '2130706433',
    '0177.0.0.1',
    '127.0.0.01',
    '1.2.3.4.5',
    '256.0.0.1',
    '10.0.0',
    '10/8',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/ 8',
    '10.0.0.0/8.0',
    '10.0.0.0/0x8',
    '10.0.0.0/1e1',
    '10.0.0.0/255.0.0.0',
    '10.0.0.0/8/8',
    '10.0.0.0./8',
    '[10.0.0.0]/8',
    '[10.0.0.1]',
    '*.10.0.0.1',
    '.10.0.0.1',
    '.::1',
    '*.[::1]',
    '10.*',
    '10.0.0.0-10.0.0.255',
    '2001:db8::/129',
    '2001:db8::/',
    '[2001:db8::/32]',
    '[2001:db8::',
    '2001:db8::]',
    '[]',
    '[]/0',
    '[::1]x',
    '[example.com]',
    '[[::1]]',
    'fe80::1%eth0',
    '[fe80::1%eth0]',
    'fe80::%eth0/10',
    '1::2::3',
    ':::',
    '::1::',
    '2001:db8::12345',
  ])('%s is refused', (pattern) => {
    expect(refusal(pattern)).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
  })

  it('of every prefix length matches what has its first bits, and nothing else', () => {
    for (const [base, size] of [
      [0xcb00_71a7n, 32],
      [0x2001_0db8_5a5a_a5a5_1234_5678_9abc_def1n, 128],
    ] as const) {
      for (let bits = 0; bits <= size; bits++) {
        const pattern = `${format(network(base, bits, size), size)}/${bits}`
        const list = new PatternList([pattern])
        for (let position = 0; position < size; position++) {
          const other = base ^ (1n << BigInt(size - 1 - position))
          const expected = position < bits ? undefined : pattern
          expect(list.match(subjectOf(other, size)), `${pattern} bit ${position}`).toBe(expected)
        }
        expect(list.match(subjectOf(base, size))).toBe(pattern)
      }
    }
  })

  it.each([
    ['IPv4', ipv4Bytes, 32],
    ['IPv6', ipv6Bytes.filter((sixteen) => sixteen[0] !== 0), 128],
  ] as const)('agrees with arithmetic on whole numbers: %s', (_family, bytes, size) => {
    const shared = fc.integer({ min: 0, max: size })
    fc.assert(
      fc.property(bytes, bytes, shared, shared, (one, two, bits, common) => {
        const left = toNumber(one)
        // Two random addresses differ in their first bits, so they are made to share some.
        const right = network(left, common, size) | (toNumber(two) & ((1n << BigInt(size - common)) - 1n))
        const list = new PatternList([`${format(network(left, bits, size), size)}/${bits}`])
        const expected = network(left, bits, size) === network(right, bits, size)
        expect(list.match(subjectOf(right, size)) !== undefined).toBe(expected)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is refused exactly where bits are set beyond its prefix', () => {
    fc.assert(
      fc.property(ipv4Bytes, fc.integer({ min: 0, max: 32 }), (four, bits) => {
        const address = toNumber(four)
        const isExact = network(address, bits, 32) === address
        expect(refusal(`${formatIPv4(four)}/${bits}`) === undefined).toBe(isExact)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('the ports of a pattern', () => {
  it.each([
    ['example.com:443', 'example.com', [443], [80, 442, 444]],
    ['example.com:1000-2000', 'example.com', [1000, 1500, 2000], [999, 2001]],
    ['.example.com:80,443,8000-8010', 'a.example.com', [80, 443, 8000, 8010], [81, 442, 7999, 8011]],
    ['*.example.com:5-5', 'a.example.com', [5], [4, 6]],
    ['192.0.2.1:1-65535', '192.0.2.1', [1, 65535], []],
    ['[::1]:443', '::1', [443], [80]],
    ['10.0.0.0/8:5432', '10.1.2.3', [5432], [5433]],
    ['[2001:db8::]/32:443', '2001:db8::9', [443], [444]],
    ['*:443', 'any.example', [443], [80]],
    ['*:443', '192.0.2.1', [443], [80]],
    ['2001:db8::1:443', '2001:db8::1:443', [1, 443, 65535], []],
  ])('%s', (pattern, host, inside, outside) => {
    for (const port of inside) expect(match([pattern], host, port), `${port}`).toBe(pattern)
    for (const port of outside) {
      expect(match([pattern], host, port), `${port}`).toBeUndefined()
      expect(match([pattern], host, port, { ignorePort: true }), `${port}`).toBe(pattern)
    }
  })

  it.each([
    '',
    '0',
    '0-80',
    '65536',
    '99999',
    '123456',
    '2000-1000',
    '1-65536',
    '1-2-3',
    '-80',
    '80-',
    '-',
    ',',
    '80,',
    ',80',
    '80,,443',
    '80 443',
    ' 80',
    '080',
    '0x50',
    '8e1',
    '80.0',
    '+80',
    '*',
    'https',
    '٤٤٣',
  ])('are refused: %j', (ports) => {
    for (const host of ['example.com', '*', '*.example.com', '192.0.2.1', '10.0.0.0/8', '[::1]', '[::]/0']) {
      const pattern = `${host}:${ports}`
      expect(refusal(pattern), pattern).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    }
  })

  it('need brackets around IPv6', () => {
    for (const pattern of ['2001:db8::/32:443', '2001:db8::1:80,443', '::1:1000-2000']) {
      expect(refusal(pattern), pattern).toMatchObject({ message: expect.stringMatching(/IPv6/) })
    }
  })

  it('agree with a list of all of them', () => {
    const port = fc.integer({ min: 1, max: 60 })
    const range = fc.tuple(port, port).map(([one, two]) => [Math.min(one, two), Math.max(one, two)] as const)
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 4 }), port, (ranges, asked) => {
        const list = new PatternList([`*:${ranges.map(([first, last]) => `${first}-${last}`).join(',')}`])
        const all = ranges.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, at) => first + at))
        expect(list.match(parseDestination('a.example', asked)) !== undefined).toBe(all.includes(asked))
      }),
    )
  })
})

describe('a list of patterns', () => {
  it('tells the first one that matches, in its own order', () => {
    const names = ['b.example:80', '*:81', '.example', 'b.example', '*', '*.b.example']
    expect(match(names, 'b.example', 80)).toBe('b.example:80')
    expect(match(names, 'b.example', 81)).toBe('*:81')
    expect(match(names, 'b.example', 82)).toBe('.example')
    expect(match(names, 'a.b.example', 82)).toBe('.example')
    expect(match(names, 'other', 82)).toBe('*')
    expect(match(['*.b.example', '.example', 'a.b.example'], 'a.b.example')).toBe('*.b.example')
    const addresses = ['10.1.0.0/16:80', '*:81', '10.0.0.0/8', '10.1.2.3', '*']
    expect(match(addresses, '10.1.2.3', 80)).toBe('10.1.0.0/16:80')
    expect(match(addresses, '10.1.2.3', 81)).toBe('*:81')
    expect(match(addresses, '10.1.2.3', 82)).toBe('10.0.0.0/8')
    expect(match(addresses, '2001:db8::1', 82)).toBe('*')
  })

  it('agrees with patterns tried one by one', () => {
    const label = fc.constantFrom('a', 'b', 'ab')
    const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
    const pattern = fc
      .tuple(fc.constantFrom('', '', '.', '*.', '*'), name, fc.constantFrom('', ':1', ':1-2'))
      .map(([before, host, ports]) => (before === '*' ? `*${ports}` : `${before}${host}${ports}`))
    fc.assert(
      fc.property(
        fc.array(pattern, { maxLength: 12 }),
        name,
        fc.integer({ min: 1, max: 3 }),
        (patterns, host, port) => {
          expect(match(patterns, host, port)).toBe(patterns.find((text) => plainMatch(text, host, port)))
        },
      ),
      { numRuns: 3_000 },
    )
  })

  it('keeps nothing of the array it was made from', () => {
    const patterns = ['a.example']
    const list = new PatternList(patterns)
    patterns[0] = 'b.example'
    patterns.push('*')
    expect(list.match(parseDestination('a.example', 1))).toBe('a.example')
    expect(list.match(parseDestination('b.example', 1))).toBeUndefined()
  })

  it('without patterns matches nothing', () => {
    expect(match([], 'a.example')).toBeUndefined()
    expect(match([], '192.0.2.1')).toBeUndefined()
  })

  it('holds a hundred thousand names, and matches among them as often', () => {
    const count = 100_000
    const patterns = Array.from({ length: count }, (_, index) => `${index % 2 === 0 ? '' : '.'}host-${index}.example`)
    const list = new PatternList(patterns)
    let found = 0
    for (let index = 0; index < count; index++) {
      if (list.match({ type: 'domain', host: `host-${index}.example`, port: 443 }) !== undefined) found++
      if (list.match({ type: 'domain', host: `a.b.host-${index}.example`, port: 443 }) !== undefined) found++
      if (list.match({ type: 'domain', host: `other-${index}.example`, port: 443 }) !== undefined) found++
    }
    expect(found).toBe(count + count / 2)
  })

  it('knows whether it holds names', () => {
    expect(new PatternList(['10.0.0.0/8', '::1']).hasAddressesAlone).toBe(true)
    expect(new PatternList([]).hasAddressesAlone).toBe(true)
    for (const patterns of [['*'], ['*:443'], ['10.0.0.0/8', 'a.example']]) {
      expect(new PatternList(patterns).hasAddressesAlone).toBe(false)
    }
    expect(new PatternList(['*', '10.0.0.0/8', '.b.example:1', 'a.example']).firstName).toBe('.b.example:1')
    expect(new PatternList(['*', '10.0.0.0/8']).firstName).toBeUndefined()
  })
})

describe('ruleOf', () => {
  it('tells the name of a function that is not made of patterns', () => {
    const subject = parseDestination('a.example', 1)
    function onlyPaying(): boolean {
      return true
    }
    expect(ruleOf(onlyPaying, subject)).toBe('onlyPaying')
    expect(ruleOf(() => true, subject)).toBe('(unnamed)')
  })
})

/** What a pattern of a name means, said as plainly as can be. */
function plainMatch(text: string, host: string, port: number): boolean {
  const [pattern = '', ports] = text.split(':')
  if (ports !== undefined && port > Number(ports.at(-1))) return false
  if (pattern === '*') return true
  if (pattern.startsWith('*.')) return host.endsWith(pattern.slice(1))
  return pattern.startsWith('.') ? `.${host}`.endsWith(pattern) : host === pattern
}

function toNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

/** An address with all bits beyond `bits` cleared. */
function network(address: bigint, bits: number, size: number): bigint {
  const rest = BigInt(size - bits)
  return (address >> rest) << rest
}

function format(address: bigint, size: number): string {
  const bytes = Buffer.from(address.toString(16).padStart(size / 4, '0'), 'hex')
  return size === 32 ? formatIPv4(bytes) : formatIPv6(bytes)
}

function subjectOf(address: bigint, size: number): Destination {
  return parseDestination(format(address, size), 443)
}
