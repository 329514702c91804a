import type { LookupFunction, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import { type Destination, formatDestination } from '../codec/destination.js'
import { explain, type Place, type Stage, timeoutError } from './failure.js'
import { type HandshakeResult, handshake } from './handshake.js'
import { parseTarget } from './idn.js'
import { lookupAddress } from './lookup.js'
import { Operation } from './operation.js'
import { invalidProxy, type ProxyLike, parseProxy, type Upstream } from './proxy-url.js'
import { opened, openTls, openTransport } from './transport.js'

/** What one proxy of a chain has answered. */
export interface Hop {
  /** Zero-based. */
  readonly hop: number
  /** The proxy, without credentials. */
  readonly proxy: string
  /** `host:port` that it was asked for. */
  readonly target: string
  /** BND of its reply, unchecked: a name in it may hold any byte. */
  readonly bound: Address
}

/** What is the same for every operation through a chain. */
export interface ChainOptions {
  readonly requireAuth: boolean
  readonly lookup: LookupFunction | undefined
  readonly localAddress: string | undefined
  readonly onHop: ((hop: Hop) => void) | undefined
}

/** What to reach, and how long to try. */
export interface ChainRequest {
  readonly destination: Destination
  readonly signal: AbortSignal | undefined
  readonly timeoutMs: number
  /** A stream that leads to the first proxy already. */
  readonly socket: Duplex | undefined
}

/** One or more proxies, each reached through the one before. */
export class Chain {
  readonly #proxies: readonly Upstream[]
  readonly #options: ChainOptions

  /** @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError, RangeError as `parseProxy`. */
  constructor(proxy: ProxyLike | readonly ProxyLike[], options: ChainOptions) {
    // A copy: what the caller does to the array later changes nothing here.
    const list: readonly ProxyLike[] = isList(proxy) ? proxy : [proxy]
    const proxies = Array.from(list, parseProxy)
    if (proxies.length === 0) throw invalidProxy('the list of proxies is empty')
    if (proxies.slice(1).some((hop) => hop.address === undefined)) {
      throw invalidProxy('only the first proxy of a chain can be a Unix socket')
    }
    if (options.requireAuth && proxies.some((hop) => hop.credentials() === undefined)) {
      throw invalidProxy("'requireAuth' needs a username and a password for every proxy")
    }
    this.#proxies = proxies
    this.#options = options
  }

  /** Position of the last proxy: the one that is asked for the target itself. */
  get lastHop(): number {
    return this.#proxies.length - 1
  }

  /** The proxies, without credentials. */
  get labels(): readonly string[] {
    return this.#proxies.map(({ label }) => label)
  }

  /** Reaches the destination through every proxy in turn. */
  async connect({ destination, signal, timeoutMs, socket }: ChainRequest): Promise<{ socket: Duplex; bound: Address }> {
    const journey = new Journey(this.#proxies, destination)
    const operation = new Operation({ signal, timeoutMs }, () => timeoutError(journey.place, timeoutMs))
    try {
      const way = await this.#walk(operation, journey, socket)
      // Cut short in the last turn: the socket is gone already.
      if (operation.failure !== undefined) throw operation.failure.reason
      return way
    } catch (error) {
      operation.destroy()
      throw operation.failure === undefined ? explain(error, journey.place) : operation.failure.reason
    } finally {
      operation.finish()
    }
  }

  async #walk(
    operation: Operation,
    journey: Journey,
    given: Duplex | undefined,
  ): Promise<{ socket: Duplex; bound: Address }> {
    let socket = operation.own(given ?? openTransport(journey.proxy, this.#options))
    if (given === undefined) await operation.race(opened(socket, 'connect'))
    for (;;) {
      const { proxy } = journey
      if (proxy.tlsOptions() !== undefined) {
        journey.stage = 'tls'
        socket = operation.own(openTls(socket, proxy))
        await operation.race(opened(socket, 'secureConnect'))
      }
      const { bound } = await this.#ask(operation, journey, socket)
      const { hop, proxy: label, target } = journey.place
      journey.stage = 'done'
      const told: unknown = this.#options.onHop?.({ hop, proxy: label, target, bound })
      // An async function in its place may reject.
      if (told instanceof Promise) await operation.race(told)
      if (!journey.next()) return { socket, bound }
    }
  }

  async #ask(operation: Operation, journey: Journey, socket: Duplex): Promise<HandshakeResult> {
    const { proxy, target } = journey
    journey.stage = 'lookup'
    const destination =
      proxy.resolve === 'local' && target.type === 'domain'
        ? parseTarget(await operation.race(lookupAddress(target.host, this.#options.lookup)), target.port)
        : target
    const step = handshake(socket, {
      destination,
      credentials: proxy.credentials(),
      requireAuth: this.#options.requireAuth,
      onStage: (stage) => {
        journey.stage = stage
      },
    })
    return operation.race(step)
  }
}

/** The way through a chain, and how far we have come. */
class Journey {
  stage: Stage = 'connect'
  readonly #proxies: readonly Upstream[]
  readonly #destination: Destination
  #hop = 0

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

  get place(): Place {
    const { proxy, target, stage } = this
    return { hop: this.#hop, hops: this.#proxies.length, proxy: proxy.label, target: formatDestination(target), stage }
  }

  /** Goes on to the next proxy; `false` when there is none. */
  next(): boolean {
    if (this.#hop + 1 >= this.#proxies.length) return false
    this.#hop++
    return true
  }

  #at(hop: number): Upstream {
    const proxy = this.#proxies[hop]
    if (proxy === undefined) throw new TypeError(`no hop ${hop}`)
    return proxy
  }
}

/** `Array.isArray` that knows readonly arrays. */
function isList(proxy: ProxyLike | readonly ProxyLike[]): proxy is readonly ProxyLike[] {
  return Array.isArray(proxy)
}

/** A connection to the target. `bound` is BND of the last proxy's reply, unchecked. */
export interface Connection<Stream extends Duplex = Socket> {
  readonly socket: Stream
  readonly bound: Address
}
