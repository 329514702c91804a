import type { Duplex } from 'node:stream'
import { ReplyCode } from '../codec/constants.js'
import { type Destination, formatDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import type { Place, Stage } from './failure.js'
import type { Upstream } from './proxy-url.js'

/** The way through a chain, and how far we have come. */
export class Journey {
  /** What we are doing there. */
  stage: Stage = 'connect'
  readonly #proxies: readonly Upstream[]
  readonly #destination: Destination
  #hop = 0
  #socket: Duplex | undefined
  #bytesBefore = 0

  constructor(proxies: readonly Upstream[], destination: Destination) {
    this.#proxies = proxies
    this.#destination = destination
  }

  /** The proxy we stand at. */
  get proxy(): Upstream {
    return this.#at(this.#hop)
  }

  /** What it is to be asked for: the next proxy, or the destination itself. */
  get target(): Destination {
    return this.#proxies[this.#hop + 1]?.address ?? this.#destination
  }

  /** Where we are, to tell. */
  get place(): Place {
    const { proxy, target, stage, isSilent } = this
    const [hop, hops] = [this.#hop, this.#proxies.length]
    return { hop, hops, proxy: proxy.label, target: formatDestination(target), stage, isSilent }
  }

  /** Counts what the proxy we stand at says from now on. */
  listenTo(socket: Duplex): void {
    this.#socket = socket
    this.#bytesBefore = bytesRead(socket)
  }

  /** @throws SocksError when a proxy could not be told where to go, before anything is opened. */
  assertExpressible(): void {
    for (const [hop, { version, label }] of this.#proxies.entries()) {
      const target = this.#proxies[hop + 1]?.address ?? this.#destination
      if (version === 5 || target.type !== 'ipv6') continue
      throw new SocksError('ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED', `proxy ${label}: SOCKS4 has no IPv6 addresses`, {
        replyCode: ReplyCode.addressTypeNotSupported,
        hop,
        target: formatDestination(target),
      })
    }
  }

  /** Whether the proxy is the one that is asked for the destination itself. */
  get isAtLast(): boolean {
    return this.#hop + 1 >= this.#proxies.length
  }

  /** Goes on to the next proxy; `false` when there is none. */
  next(): boolean {
    if (this.isAtLast) return false
    this.#hop++
    return true
  }

  /** Whether the proxy, asked in plain text, has not said a byte; of a stream that does not count them we cannot tell. */
  get isSilent(): boolean {
    if (this.#socket === undefined || this.proxy.tlsOptions() !== undefined) return false
    return bytesRead(this.#socket) === this.#bytesBefore
  }

  #at(hop: number): Upstream {
    const proxy = this.#proxies[hop]
    if (proxy === undefined) throw new TypeError(`no hop ${hop}`)
    return proxy
  }
}

/** Of a `net.Socket`; NaN, which equals nothing, of another stream. */
function bytesRead(stream: Duplex): number {
  return Number(Reflect.get(stream, 'bytesRead'))
}
