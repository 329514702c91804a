import { withoutZone } from '../codec/destination.js'
import { canonicalIP } from '../codec/index.js'
import type { SocketAddress } from './socket.js'

/** Options of {@link ClientPin}. */
export interface ClientPinOptions {
  /** Canonical IP literal of the client; `undefined`: that of the first who sends a valid datagram. */
  readonly address: string | undefined
  /** The client's port; 0: that of the first valid datagram. */
  readonly port: number
  /** Milliseconds of silence after which another port of that address may take its place; 0 is never. */
  readonly relatchAfterMs: number
}

/**
 * Knows the client by its address and port. RFC 1928 section 7: the relay drops what comes from any other address. Garbage
 * from the right address must not take the port: only what was valid is told to `latch`.
 */
export class ClientPin {
  readonly #options: ClientPinOptions
  #peer: SocketAddress | undefined
  #seenAt = 0

  constructor(options: ClientPinOptions) {
    this.#options = options
  }

  /** Where the client is, as the system writes it; `undefined` before its first valid datagram. */
  get peer(): SocketAddress | undefined {
    return this.#peer
  }

  /** Whether a datagram from there may be the client's, `host` as the system writes it. */
  admits(host: string, port: number, now: number): boolean {
    const peer = this.#peer
    const { address, port: fixedPort, relatchAfterMs } = this.#options
    if (peer !== undefined) {
      if (host !== peer.host) return false
      if (port === peer.port) return true
      return port !== 0 && fixedPort === 0 && relatchAfterMs !== 0 && now - this.#seenAt >= relatchAfterMs
    }
    // Nothing could be sent back to port 0.
    if (port === 0 || (fixedPort !== 0 && port !== fixedPort)) return false
    return address === undefined || address === canonicalSource(host)
  }

  /** A valid datagram has come from there. Whether that is another port than before. */
  latch(host: string, port: number, now: number): boolean {
    this.#seenAt = now
    if (this.#peer?.port === port) return false
    this.#peer = { host, port }
    return true
  }
}

/** The canonical IP literal of a source as the system writes it, or as it is where it is none. IPv4-mapped is IPv4. */
export function canonicalSource(host: string): string {
  const literal = withoutZone(host)
  return canonicalIP(literal)?.host ?? literal
}
