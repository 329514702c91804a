import { type AddressKind, canonicalIP } from '../codec/index.js'
import type { OutboundRequest } from './outbound.js'

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
} as const

const ANY = egress.any()
const NO_LOCAL = egress.noLocal()

/** The policy where none was given: a loopback client may reach anything, every other client what is not local to the proxy. */
export function defaultEgress(clientAddress: string | undefined): EgressPolicy {
  return clientAddress !== undefined && isLoopback(clientAddress) ? ANY : NO_LOCAL
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

function named(name: string, policy: EgressPolicy): EgressPolicy {
  return Object.defineProperty(policy, 'name', { value: name })
}
