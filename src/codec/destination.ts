import type { Address } from './address.js'
import { isPort } from './arguments.js'
import { ReplyCode } from './constants.js'
import { SocksError } from './errors.js'
import { formatIPv4, formatIPv6, isIPv4Mapped, parseIP } from './ip.js'

/**
 * Where a request wants to go, parsed once: the only form that rules, resolver, dialer, logs and replies ever see.
 * `host` is canonical: IPv4 dotted quad, IPv6 as RFC 5952 writes it, or a name in lower case with no trailing dot.
 * IPv4-mapped IPv6 addresses are IPv4. Immutable.
 */
export interface Destination {
  readonly type: 'ipv4' | 'ipv6' | 'domain'
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

// RFC 1035 section 2.3.4: 255 bytes with length bytes and root, so 253 as text; 63 for a label.
const MAX_NAME = 253
// Matched before letters are lowered: lowering turns some characters outside ASCII (the Kelvin sign) into ASCII.
const LABEL = /^[A-Za-z0-9_-]{1,63}$/

/**
 * The canonical destination for a host as a person or a peer wrote it, and a port.
 *
 * Names that resolvers read in two ways are refused, because a rule would judge one thing and the system dial another:
 * the short, octal and hexadecimal spellings of IPv4 (`127.1`, `0x7f000001`, `2130706433`), NUL and other bytes outside
 * letters, digits, `-`, `_` and `.`, zones (`fe80::1%eth0`), empty labels, labels over 63 and names over 253 bytes.
 * @throws SocksError `ERR_SOCKS_INVALID_HOST` (`replyCode` 1 for an empty host, else 4), `ERR_SOCKS_INVALID_PORT`.
 */
export function parseDestination(host: string, port: number): Destination {
  if (!isPort(port)) {
    throw new SocksError('ERR_SOCKS_INVALID_PORT', 'port must be an integer from 0 to 65535', {
      replyCode: ReplyCode.generalFailure,
    })
  }
  if (host === '') {
    throw new SocksError('ERR_SOCKS_INVALID_HOST', 'empty host', { replyCode: ReplyCode.generalFailure })
  }
  // A little more than any valid host: longer text is refused before it is looked at.
  if (host.length > MAX_NAME + 2) throw invalidHost('host is too long')
  if (host.startsWith('[') && host.endsWith(']')) return ipv6Destination(host.slice(1, -1), port)
  if (host.includes(':')) return ipv6Destination(host, port)
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  const literal = canonicalIP(name)
  if (literal !== undefined) return destination(literal.type, literal.host, port)
  checkName(name)
  return destination('domain', name.toLowerCase(), port)
}

/** The canonical destination of a wire address. @throws SocksError as {@link parseDestination} does. */
export function toDestination({ type, host, port }: Address): Destination {
  // A literal is a literal by its ATYP; what a name holds is looked at with suspicion.
  return type === 'ipv6' ? ipv6Destination(host, port) : parseDestination(host, port)
}

/** An IP literal in canonical form, IPv4 where it is IPv4-mapped; `undefined` for anything else, zones included. */
export function canonicalIP(text: string): { readonly type: 'ipv4' | 'ipv6'; readonly host: string } | undefined {
  const bytes = parseIP(text)
  if (bytes === undefined) return undefined
  if (bytes.length === 4) return { type: 'ipv4', host: formatIPv4(bytes) }
  if (isIPv4Mapped(bytes)) return { type: 'ipv4', host: formatIPv4(bytes, 12) }
  return { type: 'ipv6', host: formatIPv6(bytes) }
}

/** Whether a canonical host is 0.0.0.0 or `::`: any address, or none. Systems connect these to themselves. */
export function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** An IP literal without its zone, which names an interface of one host and is no part of what a peer is called. */
export function withoutZone(address: string): string {
  return address.replace(/%.*$/, '')
}

/** `host:port`, with brackets around IPv6. */
export function formatDestination({ type, host, port }: Destination): string {
  return type === 'ipv6' ? `[${host}]:${port}` : `${host}:${port}`
}

function ipv6Destination(text: string, port: number): Destination {
  const literal = text.includes(':') ? canonicalIP(text) : undefined
  if (literal === undefined)
    throw invalidHost('host is neither a name nor an IPv6 address; scheme and port do not belong in it')
  return destination(literal.type, literal.host, port)
}

function checkName(name: string): void {
  if (name.length > MAX_NAME) throw invalidHost('host is too long')
  const labels = name.split('.')
  for (const label of labels) if (!LABEL.test(label)) throw invalidHost('host is not a valid name')
  // inet_aton reads a name whose last label is a number as IPv4; no top-level domain is a number.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/i.test(labels.at(-1) ?? '')) throw invalidHost('host is a number')
}

function invalidHost(message: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_HOST', message, { replyCode: ReplyCode.hostUnreachable })
}

function destination(type: Destination['type'], host: string, port: number): Destination {
  return Object.freeze({ type, host, port })
}
