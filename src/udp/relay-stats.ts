/** Reasons to drop a datagram; see {@link UdpDropReason}. */
const UDP_DROP_REASONS = [
  'source',
  'malformed',
  'fragment',
  'destination',
  'denied',
  'failed',
  'backlog',
  'oversize',
  'stranger',
  'system',
] as const

/**
 * Why a relay dropped a datagram.
 * - `source`: not from the client
 * - `malformed`: no header, or one that is cut short
 * - `fragment`: a fragment, and they are not put together; or one that no datagram came of
 * - `destination`: port 0, or a host that no rule could judge
 * - `denied`, `failed`: so `decide` has said, or it has said nothing that makes sense
 * - `backlog`: too much waits for an answer of `decide`
 * - `oversize`: too large to be passed on whole
 * - `stranger`: from an address that the client has not sent to
 * - `system`: the system would not take it, or reported an error. Of datagrams to one target it is asked for its opinion
 *   until it has taken one, and again when the answer of `decide` is renewed
 */
export type UdpDropReason = (typeof UDP_DROP_REASONS)[number]

/** What a relay has done so far. Bytes are those of payloads. */
export interface UdpRelayStats {
  /** From the client, handed to the system for a target. */
  readonly datagramsUp: number
  readonly bytesUp: number
  /** From targets, handed to the system for the client. */
  readonly datagramsDown: number
  readonly bytesDown: number
  readonly dropped: Readonly<Record<UdpDropReason, number>>
  /** Destinations at present. */
  readonly mappings: number
}

/** Counters at zero. */
export function noDrops(): Record<UdpDropReason, number> {
  // Every reason is a key: the type is made of the list.
  return Object.fromEntries(UDP_DROP_REASONS.map((reason) => [reason, 0])) as Record<UdpDropReason, number>
}
