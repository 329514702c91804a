import { randomUUID } from 'node:crypto'
import { type LookupFunction, Socket as NetSocket, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import type { ClientSession } from '../codec/client-session.js'
import { Command } from '../codec/constants.js'
import type { Destination } from '../codec/destination.js'
import type { Credentials } from '../codec/userpass.js'
import { explain, timeoutError } from './failure.js'
import { type HandshakeRequest, type Negotiated, negotiate } from './handshake.js'
import { parseTarget } from './idn.js'
import { Journey } from './journey.js'
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
  /** Fresh credentials for each connection, where a proxy has none of its own. */
  readonly isolate: boolean
  /** Say all that a proxy is to be told in one flight. */
  readonly optimistic?: boolean | undefined
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
  /** CMD byte for the last proxy. Default CONNECT. */
  readonly command?: number | undefined
  /** Bytes for the destination, behind the request to the last proxy. */
  readonly firstData?: Uint8Array | undefined
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
    if (options.requireAuth && proxies.some(({ version }) => version === 4)) {
      throw invalidProxy("SOCKS4 has no passwords, which 'requireAuth' asks for")
    }
    if (options.isolate && proxies.every((hop) => hop.version === 4 || hop.credentials() !== undefined)) {
      throw invalidProxy("'isolate' has nothing to do: every proxy has credentials of its own, or is SOCKS4")
    }
    const canProve = (hop: Upstream) => hop.credentials() !== undefined || hop.auth() !== undefined
    if (options.requireAuth && !options.isolate && !proxies.every(canProve)) {
      throw invalidProxy("'requireAuth' needs a username and a password, or 'auth', for every proxy")
    }
    if (options.optimistic && proxies.some((hop) => hop.auth() !== undefined)) {
      throw invalidProxy("'optimistic' says everything at once, and 'auth' is a conversation")
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

  /** The last proxy, which is asked for the target itself. */
  get last(): Upstream {
    const last = this.#proxies[this.lastHop]
    if (last === undefined) throw new TypeError('an empty chain')
    return last
  }

  /** Reaches the destination through every proxy in turn. */
  connect(request: ChainRequest): Promise<{ socket: Duplex; bound: Address }> {
    return this.complete(request, async ({ socket, bound }) => ({ socket, bound }))
  }

  /** As {@link connect}, with a last step that the same deadline and signal hold for. */
  async complete<T>(request: ChainRequest, lastStep: (way: Way) => Promise<T>): Promise<T> {
    const { destination, signal, timeoutMs } = request
    const journey = new Journey(this.#proxies, destination)
    journey.assertExpressible()
    const operation = new Operation({ signal, timeoutMs }, () => {
      return timeoutError(journey.place, timeoutMs, this.#options.optimistic === true && journey.proxy.version === 5)
    })
    try {
      const way = await this.#walk(operation, journey, request)
      // Cut short in the last turn: the socket is gone already.
      if (operation.failure !== undefined) throw operation.failure.reason
      return await operation.race(lastStep(way))
    } catch (error) {
      operation.destroy()
      throw operation.failure === undefined ? explain(error, journey.place) : operation.failure.reason
    } finally {
      operation.finish()
    }
  }

  async #walk(operation: Operation, journey: Journey, { socket: given, ...last }: ChainRequest): Promise<Way> {
    let socket = operation.own(given ?? openTransport(journey.proxy, this.#options))
    if (given === undefined) await operation.race(opened(socket, 'connect'))
    for (;;) {
      const { proxy } = journey
      if (proxy.tlsOptions() !== undefined) {
        journey.stage = 'tls'
        socket = operation.own(openTls(socket, proxy))
        await operation.race(opened(socket, 'secureConnect'))
      }
      const answer = await this.#ask(operation, journey, socket, journey.isAtLast ? last : {})
      const { bound, session } = answer
      socket = answer.stream
      const { hop, proxy: label, target } = journey.place
      journey.stage = 'done'
      const told: unknown = this.#options.onHop?.({ hop, proxy: label, target, bound })
      // An async function in its place may reject, and its promise may be of another realm.
      if (typeof told === 'object' && told !== null) await operation.race(Promise.resolve(told))
      if (!journey.next()) return { socket, bound, session }
    }
  }

  async #ask(
    operation: Operation,
    journey: Journey,
    socket: Duplex,
    { command, firstData }: Pick<ChainRequest, 'command' | 'firstData'>,
  ): Promise<Negotiated> {
    const { proxy, target } = journey
    journey.stage = 'lookup'
    const destination =
      proxy.resolve === 'local' && target.type === 'domain' && !isLookup(command)
        ? parseTarget(await operation.race(this.#lookUp(target.host, proxy)), target.port)
        : target
    journey.listenTo(socket)
    const request: HandshakeRequest = {
      destination: isUnspecified(target) ? unspecifiedFor(socket) : destination,
      command,
      version: proxy.version,
      credentials:
        proxy.credentials() ?? (this.#options.isolate && proxy.version === 5 ? freshCredentials() : undefined),
      auth: proxy.auth(),
      requireAuth: this.#options.requireAuth,
      optimistic: this.#options.optimistic,
      firstData,
      onStage: (stage) => {
        journey.stage = stage
      },
    }
    return operation.race(negotiate(socket, request, (wrapped) => operation.own(wrapped)))
  }

  /** SOCKS4 can be told IPv4 addresses alone. */
  #lookUp(host: string, { version }: Upstream): Promise<string> {
    return lookupAddress(host, this.#options.lookup, version === 4 ? 4 : undefined)
  }
}

/** Credentials that nobody has used, and nobody can guess. */
function freshCredentials(): Credentials {
  const encoder = new TextEncoder()
  return { username: encoder.encode(randomUUID()), password: encoder.encode(randomUUID()) }
}

/** 0.0.0.0 stands for "no address of my own to tell" (RFC 1928 section 7), in the family of the connection. */
function unspecifiedFor(socket: Duplex): Pick<Destination, 'host' | 'port'> {
  const isIPv6 = socket instanceof NetSocket && socket.remoteFamily === 'IPv6'
  return { host: isIPv6 ? '::' : '0.0.0.0', port: 0 }
}

/** Whether the name itself is the question. */
function isLookup(command: number | undefined): boolean {
  return command === Command.resolve || command === Command.resolvePtr
}

function isUnspecified({ host, port }: Destination): boolean {
  return host === '0.0.0.0' && port === 0
}

/** `Array.isArray` that knows readonly arrays. */
function isList(proxy: ProxyLike | readonly ProxyLike[]): proxy is readonly ProxyLike[] {
  return Array.isArray(proxy)
}

/** A stream on which a proxy has granted what it was asked for. */
export interface Way {
  readonly socket: Duplex
  /** BND of its reply, unchecked. */
  readonly bound: Address
  /** The handshake with it: of BIND there is another reply to come. */
  readonly session: ClientSession
}

/** A connection to the target. `bound` is BND of the last proxy's reply, unchecked. */
export interface Connection<Stream extends Duplex = Socket> {
  readonly socket: Stream
  readonly bound: Address
}
