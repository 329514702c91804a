import { invalidArgument } from '../codec/arguments.js'
import { isUnspecified } from '../codec/destination.js'
import { type Destination, formatIPv4, formatIPv6, isSocksError, parseDestination, parseIP } from '../codec/index.js'
import { isIPv4Mapped } from '../codec/ip.js'
import { embeddedIPv4, matchesPrefix } from '../codec/ip-kind.js'

type PortRange = readonly [first: number, last: number]

interface PatternBase {
  /** As the operator wrote it. */
  readonly text: string
  /** `undefined`: every port. */
  readonly ports: readonly PortRange[] | undefined
}

/** `*`: every name and every address. */
export interface AnyPattern extends PatternBase {
  readonly type: 'any'
}

/** A name (`exact`), the names below it (`below`, written `*.name`), or all of them (`both`, written `.name`). */
export interface NamePattern extends PatternBase {
  readonly type: 'name'
  /** Canonical, as {@link parseDestination} makes it. */
  readonly name: string
  readonly scope: 'exact' | 'below' | 'both'
}

/** An address, or a range of them. */
export interface AddressPattern extends PatternBase {
  readonly type: 'address'
  /** 4 or 16 bytes; an IPv4-mapped pattern is the IPv4 one. */
  readonly prefix: Uint8Array
  readonly bits: number
}

/** One pattern, checked. */
export type Pattern = AnyPattern | NamePattern | AddressPattern

/** How {@link PatternList.match} looks at a subject. */
export interface MatchOptions {
  /** Port parts of patterns do not count. Default `false`. */
  readonly ignorePort?: boolean | undefined
  /** An IPv6 address matches by the IPv4 address it carries (NAT64, 6to4), too. Default `false`: a list that allows must not widen. */
  readonly embedded?: boolean | undefined
}

// Brackets around IPv6, so that a port can follow: [2001:db8::]/32:443
const BRACKETED = /^(?<host>\[[^\]]*\])(?:\/(?<bits>[^:]*))?(?::(?<ports>.*))?$/s
const PLAIN = /^(?<host>[^:/]*)(?:\/(?<bits>[^:]*))?(?::(?<ports>.*))?$/s
// Two colons without brackets are an IPv6 address and no port: 2001:db8::1:443 would be both.
const BARE_IPV6 = /^(?<host>[^/]*:[^/]*:[^/]*)(?:\/(?<bits>.*))?$/s
// A number that starts with a zero is octal to some.
const NUMBER = /^(?:0|[1-9][0-9]{0,4})$/

/**
 * Parses one pattern: `example.com` (that name), `*.example.com` (every name below it), `.example.com` (both), `*` (anything),
 * `192.0.2.1`, `2001:db8::1`, `10.0.0.0/8`, `2001:db8::/32`; then the ports, if not all of them are meant: `example.com:443`,
 * `10.0.0.0/8:80,8000-8999`, `[2001:db8::]/32:443`, `*:443`.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for anything else, and for what could be read in two ways: bits beyond the
 * prefix of a range, the short, octal and hexadecimal spellings of IPv4, names that are not ASCII.
 */
export function parsePattern(text: string): Pattern {
  if (typeof text !== 'string') throw invalidArgument('a pattern must be a string')
  const form = text.startsWith('[') ? BRACKETED : BARE_IPV6.test(text) ? BARE_IPV6 : PLAIN
  const { host = '', bits, ports } = form.exec(text)?.groups ?? {}
  const base: PatternBase = { text, ports: ports === undefined ? undefined : parsePorts(ports, text) }
  if (bits !== undefined) return parseRange(base, host, bits)
  if (host === '*') return { ...base, type: 'any' }
  const isBelow = host.startsWith('*.')
  if (isBelow || host.startsWith('.')) {
    const parent = parseHost(host.slice(isBelow ? 2 : 1), text)
    if (parent.type !== 'domain') throw malformed(text, 'an address has no names below it')
    return { ...base, type: 'name', name: parent.host, scope: isBelow ? 'below' : 'both' }
  }
  const { type, host: canonical } = parseHost(host, text)
  const prefix = type === 'domain' ? undefined : parseIP(canonical)
  if (prefix === undefined) return { ...base, type: 'name', name: canonical, scope: 'exact' }
  return { ...base, type: 'address', prefix, bits: prefix.length * 8 }
}

function parseHost(host: string, text: string): Destination {
  if (/\P{ASCII}/u.test(host)) {
    throw malformed(text, 'names are ASCII; write an international name as DNS has it, in punycode (xn--...)')
  }
  if (host.includes('*')) throw malformed(text, '* stands alone, or for all that is before the first dot')
  try {
    return parseDestination(host, 0)
  } catch (error) {
    if (!isSocksError(error)) throw error
    throw malformed(text, 'not a name, an IP address or a range; IPv6 with ports is [2001:db8::1]:443')
  }
}

function parseRange(base: PatternBase, host: string, length: string): AddressPattern {
  const { text } = base
  const literal = host.startsWith('[') ? host.slice(1, -1) : host
  const bytes = host.startsWith('[') && !literal.includes(':') ? undefined : parseIP(literal)
  if (bytes === undefined) throw malformed(text, 'a prefix length stands behind an IP address alone')
  const bits = Number(length)
  if (!NUMBER.test(length) || bits > bytes.length * 8) {
    throw malformed(
      text,
      `the prefix length is a number from 0 to ${bytes.length * 8}; ports need brackets around IPv6`,
    )
  }
  const prefix = bytes.map((byte, index) => byte & ~(0xff >> Math.min(8, Math.max(0, bits - index * 8))))
  if (!matchesPrefix(bytes, prefix, bytes.length * 8)) {
    const network = prefix.length === 4 ? formatIPv4(prefix) : formatIPv6(prefix)
    throw malformed(text, `bits are set beyond the prefix; is ${network}/${bits} meant, or one address?`)
  }
  // Fewer than 96 bits never get here: the ones of ::ffff would lie beyond the prefix.
  if (prefix.length === 16 && isIPv4Mapped(prefix)) {
    return { ...base, type: 'address', prefix: prefix.slice(12), bits: bits - 96 }
  }
  return { ...base, type: 'address', prefix, bits }
}

function parsePorts(list: string, text: string): PortRange[] {
  return list.split(',').map((item) => {
    const ends = item.split('-')
    const [first = Number.NaN, last = first] = ends.map((end) => (NUMBER.test(end) ? Number(end) : Number.NaN))
    // Port 0 is no port that anything can be sent to.
    if (ends.length > 2 || !(first >= 1 && first <= last && last <= 0xffff)) {
      throw malformed(text, 'ports are 443, 1000-2000 or 80,443, from 1 to 65535; leave them out for all')
    }
    return [first, last]
  })
}

function malformed(text: string, reason: string): TypeError {
  return invalidArgument(`pattern ${JSON.stringify(text)}: ${reason}`)
}

interface Ranked {
  readonly pattern: Pattern
  /** Its place in the list: the first pattern that matches is the one to tell. */
  readonly rank: number
}

/** Patterns in their order. Names cost a look-up for each of their labels, however many there are; addresses a scan. */
export class PatternList {
  readonly #names = new Map<string, Ranked[]>()
  readonly #anything: Ranked[] = []
  readonly #addresses: (AnyPattern | AddressPattern)[] = []
  /** Text of the first pattern that is a name; `undefined` where there is none. */
  readonly firstName: string | undefined
  /** Whether every pattern is an address or a range: no name, and no `*`. */
  readonly hasAddressesAlone: boolean

  /** Keeps a copy. @throws TypeError `ERR_INVALID_ARG_VALUE` for anything but an array, and as {@link parsePattern}. */
  constructor(patterns: readonly string[]) {
    if (!Array.isArray(patterns)) throw invalidArgument('patterns must be an array of strings')
    const parsed = Array.from(patterns, (text) => parsePattern(text))
    for (const [rank, pattern] of parsed.entries()) this.#add(pattern, rank)
    this.firstName = parsed.find(({ type }) => type === 'name')?.text
    this.hasAddressesAlone = parsed.every(({ type }) => type === 'address')
  }

  #add(pattern: Pattern, rank: number): void {
    if (pattern.type === 'name') {
      const known = this.#names.get(pattern.name)
      if (known === undefined) this.#names.set(pattern.name, [{ pattern, rank }])
      else known.push({ pattern, rank })
      return
    }
    this.#addresses.push(pattern)
    if (pattern.type === 'any') this.#anything.push({ pattern, rank })
  }

  /**
   * Text of the first pattern that matches, `undefined` where none does. Names match names alone, addresses addresses alone.
   * @param subject canonical, as rules see it.
   */
  match({ type, host, port }: Destination, { ignorePort, embedded }: MatchOptions = {}): string | undefined {
    const compared = ignorePort === true ? undefined : port
    return type === 'domain' ? this.#matchName(host, compared) : this.#matchAddress(host, compared, embedded === true)
  }

  #matchName(host: string, port: number | undefined): string | undefined {
    let first = this.#anything.find(({ pattern }) => hasPort(pattern, port))
    // The name itself, then each name that it is below: a.b.c, b.c, c.
    for (let at = 0; at >= 0; at = nextLabel(host, at)) {
      const other = at === 0 ? 'below' : 'exact'
      for (const ranked of this.#names.get(host.slice(at)) ?? []) {
        const { pattern, rank } = ranked
        const isCandidate = first === undefined || rank < first.rank
        if (isCandidate && pattern.type === 'name' && pattern.scope !== other && hasPort(pattern, port)) first = ranked
      }
    }
    return first?.pattern.text
  }

  #matchAddress(host: string, port: number | undefined, embedded: boolean): string | undefined {
    const bytes = addressBytes(host)
    const carried = embedded && bytes !== undefined ? carriedIPv4(bytes) : undefined
    return this.#addresses.find((pattern) => {
      if (!hasPort(pattern, port)) return false
      return pattern.type === 'any' || isWithin(bytes, pattern) || isWithin(carried, pattern)
    })?.text
  }
}

function nextLabel(host: string, at: number): number {
  const dot = host.indexOf('.', at)
  return dot < 0 ? -1 : dot + 1
}

function hasPort({ ports }: Pattern, port: number | undefined): boolean {
  return port === undefined || ports === undefined || ports.some(([first, last]) => first <= port && port <= last)
}

function isWithin(bytes: Uint8Array | undefined, { prefix, bits }: AddressPattern): boolean {
  return bytes !== undefined && matchesPrefix(bytes, prefix, bits)
}

function addressBytes(host: string): Uint8Array | undefined {
  const bytes = parseIP(host)
  return bytes?.length === 16 && isIPv4Mapped(bytes) ? bytes.subarray(12) : bytes
}

/** 0.0.0.0/8 is nowhere to go to; :: and ::1 would be in it. */
function carriedIPv4(bytes: Uint8Array): Uint8Array | undefined {
  const carried = embeddedIPv4(bytes)
  return carried?.[0] === 0 ? undefined : carried
}

/** What a rule made of patterns is asked about. */
export interface Subject extends Destination {
  /** As rules see it; left out: one that goes to a port. */
  readonly command?: string | undefined
  /** For a BIND peer that has connected: what the client had asked for. */
  readonly requested?: Destination | undefined
}

// Commands whose port nobody connects to: that of BIND is a wish, that of its peer arbitrary, and a look-up has none.
const PORTLESS: ReadonlySet<string | undefined> = new Set(['bind', 'resolve', 'resolve-ptr'])

/** The pattern by which a rule called `verb` decides, `undefined` where none matches. */
export function decisivePattern(verb: 'allow' | 'deny', list: PatternList, subject: Subject): string | undefined {
  // What slips past a list that denies is a hole: an IPv4 address must not, for being written as an IPv6 one.
  const options: MatchOptions = { ignorePort: PORTLESS.has(subject.command), embedded: verb === 'deny' }
  const { requested } = subject
  const match = list.match(subject, options)
  // Who asked for any peer has named none: that one is judged by its own address alone.
  if (match !== undefined || requested === undefined || isUnspecified(requested.host)) return match
  return list.match(requested, options)
}

type Rule = (...asked: never[]) => unknown

const explanations = new WeakMap<Rule, (subject: Subject) => string>()

/** Names a rule, and keeps what {@link ruleOf} is to say about its verdicts. */
export function explained<T extends Rule>(rule: T, name: string, explain: (subject: Subject) => string): T {
  explanations.set(rule, explain)
  return Object.defineProperty(rule, 'name', { value: name })
}

/**
 * For people: which rule decides about a subject. `allow 10.0.0.0/8:5432` for one made of patterns, `allow` where no pattern
 * of it matches (or the rule that it then leaves the decision to), the name of the function for any other.
 */
export function ruleOf(rule: Rule, subject: Subject): string {
  return explanations.get(rule)?.(subject) ?? (rule.name || '(unnamed)')
}
