import type { Destination } from '../codec/index.js'

/**
 * Bytes of the largest datagram, the SOCKS header included: an IPv4 packet holds 65,535, less its own header (20) and
 * that of UDP (8). IPv6 would take 20 more; nothing relies on them, because the far side may be IPv4.
 */
export const MAX_DATAGRAM_BYTES = 65_507

/** Bytes of the header before a payload for, or from, `destination`: 10, 22, or 7 and the name. RFC 1928 section 7. */
export function headerBytes({ type, host }: Pick<Destination, 'type' | 'host'>): number {
  if (type === 'domain') return 7 + host.length
  // Section 7 says 20 for IPv6; its own layout adds up to 4 + 16 + 2.
  return type === 'ipv4' ? 10 : 22
}

/** Bytes of the largest payload that a datagram for `destination` holds. */
export function maxPayloadBytes(destination: Pick<Destination, 'type' | 'host'>): number {
  return MAX_DATAGRAM_BYTES - headerBytes(destination)
}
