import { outOfRange } from '../codec/arguments.js'
import type { Address, UdpDatagram } from '../codec/index.js'
import { MAX_DATAGRAM_BYTES } from './size.js'

/** High bit of FRAG: the last of its sequence. RFC 1928 section 7. */
const LAST = 0x80
/** Low bits of FRAG: the position. */
const POSITION = 0x7f
/** RFC 1928 section 7: "the reassembly timer MUST be no less than 5 seconds". */
const MIN_TIMEOUT_MS = 5_000

/** A datagram without its FRAG: one that came whole, or was put together. */
export type WholeDatagram = Omit<UdpDatagram, 'fragment'>

/** Options of {@link Reassembly}. */
export interface ReassemblyOptions {
  /** Milliseconds from the first fragment to the last. Default and least: 5,000, which RFC 1928 section 7 asks for. */
  readonly timeoutMs?: number | undefined
}

/**
 * Puts the fragments of one sender in one association together. RFC 1928 section 7. Pure: the caller brings the clock.
 *
 * There is one queue. Positions must come as 1, 2, 3 and so on to at most 127, the last with the high bit. A position
 * that is not above the highest so far ends the sequence, FRAG 0 included, and a 1 begins the next one. So does a gap:
 * what is missing would be such a position. At most 65,507 bytes of payload are held.
 */
export class Reassembly {
  readonly #timeoutMs: number
  #address: Address | undefined
  #parts: Uint8Array[] = []
  #bytes = 0
  #expiresAt = 0
  #dropped = 0

  /** @throws RangeError `ERR_OUT_OF_RANGE` for a timeout under 5,000 ms. */
  constructor({ timeoutMs = MIN_TIMEOUT_MS }: ReassemblyOptions = {}) {
    if (!(timeoutMs >= MIN_TIMEOUT_MS)) throw outOfRange(`timeoutMs must be at least ${MIN_TIMEOUT_MS}`)
    this.#timeoutMs = timeoutMs
  }

  /** Fragments so far that became part of no datagram. */
  get dropped(): number {
    return this.#dropped
  }

  /** When the fragments that are held are given up, on the caller's clock; `undefined` when there are none. */
  get expiresAt(): number | undefined {
    return this.#parts.length === 0 ? undefined : this.#expiresAt
  }

  /**
   * Takes the next datagram of the sender, `now` in milliseconds of a clock that does not go back. Returns it when it is
   * whole by itself, or the one that it completes, with the address of its first fragment. Never throws.
   */
  receive({ fragment, address, payload }: UdpDatagram, now: number): WholeDatagram | undefined {
    this.expire(now)
    const position = fragment & POSITION
    if (position <= this.#parts.length) this.reset()
    if (fragment === 0) return { address, payload }
    if (position !== this.#parts.length + 1 || this.#bytes + payload.length > MAX_DATAGRAM_BYTES) {
      this.reset()
      this.#dropped++
      return undefined
    }
    if (position === 1) {
      this.#address = address
      this.#expiresAt = now + this.#timeoutMs
    }
    // A copy: what the caller received into may be written to again.
    this.#parts.push(Uint8Array.from(payload))
    this.#bytes += payload.length
    return (fragment & LAST) === 0 ? undefined : this.#complete(this.#address ?? address)
  }

  /** Gives up fragments that have waited for too long. */
  expire(now: number): void {
    if (this.#parts.length > 0 && now >= this.#expiresAt) this.reset()
  }

  /** Gives up the fragments that are held. */
  reset(): void {
    this.#dropped += this.#parts.length
    this.#clear()
  }

  #complete(address: Address): WholeDatagram {
    const payload = new Uint8Array(this.#bytes)
    let offset = 0
    for (const part of this.#parts) {
      payload.set(part, offset)
      offset += part.length
    }
    this.#clear()
    return { address, payload }
  }

  #clear(): void {
    this.#address = undefined
    this.#parts = []
    this.#bytes = 0
  }
}

/** A piece of a payload, and the FRAG to send it with. */
export type Fragment = Pick<UdpDatagram, 'fragment' | 'payload'>

/**
 * Cuts a payload into pieces of `size` bytes, the last one shorter. A payload that fits is one piece with FRAG 0, which
 * every relay takes. The pieces are views, not copies.
 * @throws RangeError `ERR_OUT_OF_RANGE` for a size under 1, and for more than 127 pieces: FRAG has no room for them.
 */
export function fragmentPayload(payload: Uint8Array, size: number): Fragment[] {
  if (!Number.isInteger(size) || size < 1) throw outOfRange('size must be a positive integer')
  if (payload.length <= size) return [{ fragment: 0, payload }]
  const count = Math.ceil(payload.length / size)
  if (count > POSITION)
    throw outOfRange(`${payload.length} bytes in pieces of ${size} are more than ${POSITION} pieces`)
  return Array.from({ length: count }, (_, index) => ({
    fragment: index + 1 === count ? LAST | count : index + 1,
    payload: payload.subarray(index * size, (index + 1) * size),
  }))
}
