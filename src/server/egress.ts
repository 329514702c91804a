import { invalidArgument } from '../codec/arguments.js'
import { type AddressKind, canonicalIP } from '../codec/index.js'
import { decisivePattern, explained, PatternList, ruleOf } from './patterns.js'
import type { OutboundRequest } from './request.js'

/** A resolved address that is about to be dialed. */
export interface EgressCandidate {
  readonly type: 'ipv4' | 'ipv6'
  /** Canonical IP literal. */
  readonly host: string
  readonly port: number
  /** What the address is for; one that embeds an IPv4 address (mapped, NAT64, 6to4) is of the kind of that one. */
  readonly kind: AddressKind
}

/**
 * Judges each resolved address after DNS, for a request; what is judged is what is dialed. `true` allows. A throw, and
 * anything but a boolean, denies and is told as the fault of the hook.
 * The function's `name` stands in the error of a denial.
 */
export type EgressPolicy = (candidate: EgressCandidate, request: OutboundRequest) => boolean

const LOCAL_KINDS: ReadonlySet<AddressKind> = new Set<AddressKind>([
  'loopback',
  'link-local',
  'unspecified',
  'multicast',
  'broadcast',
  'metadata',
])

/** Ready-made policies. */
export const egress = {
  /** Every address. */
  any: (): EgressPolicy => named('any', () => true),
  /** Everything but the proxy host's own loopback, link-local (cloud metadata), unspecified, multicast and broadcast addresses. */
  noLocal: (): EgressPolicy => named('noLocal', ({ kind }) => !LOCAL_KINDS.has(kind)),
  /** Public unicast addresses alone. */
  publicOnly: (): EgressPolicy => named('publicOnly', ({ kind }) => kind === 'public'),
  /**
   * Addresses that one of the patterns matches; `otherwise` decides about the others, which are denied by default.
   * `egress.allow(['10.1.2.3:5432'], egress.publicOnly())`: what is public, and one database.
   * @param patterns addresses, ranges and `*`, each with ports or without, as `parsePattern` takes them. Copied.
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for what is no pattern, and for a name: none is known here any more.
   */
  allow: (patterns: readonly string[], otherwise?: EgressPolicy): EgressPolicy =>
    patternPolicy('allow', patterns, otherwise),
  /**
   * Every address but those that one of the patterns matches; `otherwise` decides about the others, by default `noLocal()`:
   * a list of what is forbidden must not open what was closed without it.
   * An IPv6 address that carries an IPv4 one (NAT64, 6to4) counts as both.
   * @param patterns as for `allow`.
   * @throws TypeError `ERR_INVALID_ARG_VALUE` as `allow` does.
   */
  deny: (patterns: readonly string[], otherwise: EgressPolicy = egress.noLocal()): EgressPolicy =>
    patternPolicy('deny', patterns, otherwise),
} as const

/** @throws TypeError for what is no policy: `egress.publicOnly` without its parentheses makes one, and is none. */
export function assertPolicy(policy: unknown, name: string): void {
  const isMaker = Object.values<unknown>(egress).includes(policy)
  if (typeof policy === 'function' && !isMaker) return
  throw invalidArgument(`${name} takes a policy, as egress.publicOnly() makes one`)
}

/**
 * Whether an IP literal is a loopback address. Only the real ones (and IPv4-mapped, which is how a dual-stack socket names
 * an IPv4 peer): an address that merely embeds one (6to4, NAT64) can be somebody else's, who must not gain by it.
 */
export function isLoopback(address: string): boolean {
  const literal = canonicalIP(address)
  if (literal === undefined) return false
  return literal.type === 'ipv4' ? literal.host.startsWith('127.') : literal.host === '::1'
}

function patternPolicy(
  verb: 'allow' | 'deny',
  patterns: readonly string[],
  otherwise: EgressPolicy | undefined,
): EgressPolicy {
  if (otherwise !== undefined) assertPolicy(otherwise, 'otherwise')
  const list = new PatternList(patterns)
  if (list.firstName !== undefined) {
    const text = JSON.stringify(list.firstName)
    throw invalidArgument(`pattern ${text}: egress judges addresses, never names; use authorize.${verb} for a name`)
  }
  const policy: EgressPolicy = (candidate, request) => {
    const pattern = decisivePattern(verb, list, { ...candidate, command: request.command })
    if (pattern !== undefined) return verb === 'allow'
    return otherwise?.(candidate, request) ?? false
  }
  return explained(policy, verb, (subject) => {
    const pattern = decisivePattern(verb, list, subject)
    if (pattern !== undefined) return `${verb} ${pattern}`
    return otherwise === undefined ? verb : ruleOf(otherwise, subject)
  })
}

function named(name: string, policy: EgressPolicy): EgressPolicy {
  return Object.defineProperty(policy, 'name', { value: name })
}
