import { invalidArgument } from '../codec/arguments.js'
import { Inbox } from '../codec/inbox.js'
import { canonicalIP, decodeProxyHeader, type ProxyHeader } from '../codec/index.js'
import { PatternList, parsePattern } from './patterns.js'
import type { Origin } from './session.js'

/** Peers that put a header before their clients' bytes: nobody else is asked for one, nor believed. */
export class ProxyPeers {
  readonly #addresses: PatternList
  readonly #unix: boolean

  /** @throws TypeError for what is no address, no CIDR range and not `unix`; for one with a port, which a peer has by chance. */
  constructor(peers: readonly string[]) {
    if (!Array.isArray(peers)) throw invalidArgument('option proxyProtocol takes a list of addresses')
    this.#unix = peers.includes('unix')
    const patterns = peers.filter((peer) => peer !== 'unix')
    this.#addresses = new PatternList(patterns)
    if (!this.#addresses.hasAddressesAlone || patterns.some((text) => parsePattern(text).ports !== undefined)) {
      throw invalidArgument("option proxyProtocol takes addresses and CIDR ranges without ports, and 'unix'")
    }
  }

  has(address: string | undefined, isUnix: boolean): boolean {
    if (isUnix) return this.#unix
    const literal = address === undefined ? undefined : canonicalIP(address)
    return literal !== undefined && this.#addresses.match({ ...literal, port: 0 }, { ignorePort: true }) !== undefined
  }
}

/** A header, and what came behind it. */
export interface ReadHeader {
  /** Where the client really comes from; `undefined` where the proxy in front speaks for itself. */
  readonly origin: Origin | undefined
  readonly rest: Uint8Array
}

/** Reads the header that a proxy in front puts before its client's bytes. The codec bounds its length. */
export class ProxyHeaderReader {
  readonly #inbox = new Inbox(Number.POSITIVE_INFINITY)
  readonly #peer: Origin

  /** `peer`: the proxy in front. */
  constructor(peer: Origin) {
    this.#peer = peer
  }

  /** `undefined`: need more. @throws SocksError `ERR_SOCKS_BAD_PROXY_HEADER`. */
  push(chunk: Uint8Array): ReadHeader | undefined {
    this.#inbox.push(chunk)
    const decoded = decodeProxyHeader(this.#inbox.peek())
    if (decoded === undefined) return undefined
    this.#inbox.consume(decoded.bytesRead)
    return { origin: this.#originOf(decoded.value), rest: this.#inbox.take() }
  }

  #originOf({ command, source }: ProxyHeader): Origin | undefined {
    // LOCAL: a health check, which the proxy makes on its own behalf.
    if (command === 'local') return undefined
    // Not local even on loopback: 127.0.0.1 is the proxy's own host, not this one.
    if (source === undefined) return { ...this.#peer, isLocal: false }
    return { clientAddress: source.host, clientPort: source.port, isLocal: false }
  }
}
