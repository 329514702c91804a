import { isIPv4Mapped, parseIP } from './ip.js'

/**
 * What an address is for, as far as a policy cares. Source: IANA's special-purpose registries (RFC 6890 and its updates).
 * - `shared`: 100.64.0.0/10, carrier-grade NAT (RFC 6598)
 * - `private`: RFC 1918, unique local (RFC 4193), site local, local-use translation (RFC 8215)
 * - `metadata`: fixed addresses at which clouds serve credentials to their machines, outside link-local
 * - `reserved`: benchmarking, protocol assignments, Teredo, discard-only, unallocated, 240.0.0.0/4
 */
export type AddressKind =
  | 'public'
  | 'loopback'
  | 'unspecified'
  | 'link-local'
  | 'private'
  | 'shared'
  | 'metadata'
  | 'documentation'
  | 'multicast'
  | 'broadcast'
  | 'reserved'

type Range = readonly [prefix: Uint8Array, bits: number, kind: AddressKind]

// First match wins, so exceptions stand above the range they are cut from.
const IPV4: readonly Range[] = [
  range('168.63.129.16', 32, 'metadata'), // Azure
  range('100.100.100.200', 32, 'metadata'), // Alibaba
  range('192.0.0.192', 32, 'metadata'), // Oracle
  range('0.0.0.0', 8, 'unspecified'), // "this network": systems connect it to themselves
  range('10.0.0.0', 8, 'private'),
  range('100.64.0.0', 10, 'shared'),
  range('127.0.0.0', 8, 'loopback'),
  range('169.254.0.0', 16, 'link-local'),
  range('172.16.0.0', 12, 'private'),
  range('192.0.0.0', 24, 'reserved'),
  range('192.0.2.0', 24, 'documentation'),
  range('192.88.99.0', 24, 'reserved'),
  range('192.168.0.0', 16, 'private'),
  range('198.18.0.0', 15, 'reserved'),
  range('198.51.100.0', 24, 'documentation'),
  range('203.0.113.0', 24, 'documentation'),
  range('224.0.0.0', 4, 'multicast'),
  range('255.255.255.255', 32, 'broadcast'),
  range('240.0.0.0', 4, 'reserved'),
  range('0.0.0.0', 0, 'public'),
]

const IPV6: readonly Range[] = [
  range('fd00:ec2::254', 128, 'metadata'), // AWS
  range('fd00:ec2::23', 128, 'metadata'), // AWS, pod identity
  range('fd20:ce::254', 128, 'metadata'), // Google
  range('fd00:c1::a9fe:a9fe', 128, 'metadata'), // Oracle
  range('fd00:42::42', 128, 'metadata'), // Scaleway
  range('::', 128, 'unspecified'),
  range('::1', 128, 'loopback'),
  range('64:ff9b:1::', 48, 'private'),
  range('2001:db8::', 32, 'documentation'),
  range('2001::', 23, 'reserved'), // Teredo, benchmarking, ORCHID and other protocol assignments
  range('3fff::', 20, 'documentation'),
  range('fc00::', 7, 'private'),
  range('fe80::', 10, 'link-local'),
  range('fec0::', 10, 'private'),
  range('ff00::', 8, 'multicast'),
  range('2000::', 3, 'public'),
  range('::', 0, 'reserved'),
]

const NAT64 = literal('64:ff9b::') // RFC 6052

// IPv6 ranges that carry an IPv4 address, and where in the sixteen bytes it stands: [prefix, bits, offset].
const EMBEDDED: readonly (readonly [Uint8Array, number, number])[] = [
  [literal('::'), 96, 12], // IPv4-compatible, deprecated (RFC 4291 section 2.5.5.1)
  [literal('::ffff:0:0:0'), 96, 12], // IPv4-translated (RFC 2765)
  [NAT64, 96, 12],
  [literal('2002::'), 16, 2], // 6to4 (RFC 3056)
]

/**
 * The kind of an address of 4 or 16 bytes. An address that embeds an IPv4 one (mapped, NAT64, 6to4) is of the kind
 * of that one: a gateway may well take the packet there. In the deprecated forms, which no gateway serves, `public` is `reserved`.
 */
export function classifyIP(bytes: Uint8Array): AddressKind {
  if (bytes.length === 4) return lookup(IPV4, bytes)
  if (isIPv4Mapped(bytes)) return lookup(IPV4, bytes.subarray(12))
  const own = lookup(IPV6, bytes)
  if (own === 'unspecified' || own === 'loopback') return own
  const carried = embeddedIPv4(bytes)
  if (carried === undefined) return own
  const inner = lookup(IPV4, carried)
  // What it carries can make an address worse, never better: no public network is behind the deprecated forms.
  return inner === 'public' && own === 'reserved' && !matchesPrefix(bytes, NAT64, 96) ? 'reserved' : inner
}

/** The IPv4 address that one of IPv6 carries in a form other than IPv4-mapped; `undefined` where it carries none. */
export function embeddedIPv4(bytes: Uint8Array): Uint8Array | undefined {
  const form = EMBEDDED.find(([prefix, bits]) => matchesPrefix(bytes, prefix, bits))
  return form === undefined ? undefined : bytes.subarray(form[2], form[2] + 4)
}

/** Whether the first `bits` bits of `bytes` are those of `prefix`. False for another family. */
export function matchesPrefix(bytes: Uint8Array, prefix: Uint8Array, bits: number): boolean {
  if (bytes.length !== prefix.length) return false
  const whole = bits >> 3
  for (let index = 0; index < whole; index++) if (bytes[index] !== prefix[index]) return false
  const rest = bits & 7
  if (rest === 0) return true
  const shift = 8 - rest
  return (bytes[whole] ?? 0) >> shift === (prefix[whole] ?? 0) >> shift
}

function lookup(ranges: readonly Range[], bytes: Uint8Array): AddressKind {
  for (const range of ranges) if (matchesPrefix(bytes, range[0], range[1])) return range[2]
  return 'reserved'
}

function range(prefix: string, bits: number, kind: AddressKind): Range {
  return [literal(prefix), bits, kind]
}

function literal(text: string): Uint8Array {
  const bytes = parseIP(text)
  if (bytes === undefined) throw new TypeError(`not an IP literal: ${text}`)
  return bytes
}
