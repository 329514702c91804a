import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { assertOptions, invalidArgument, isPort } from '../codec/arguments.js'
import { canonicalIP } from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import { Deadline } from '../stream/deadline.js'
import type { Arrival } from './arrival.js'
import type { ClientConnection } from './client-connection.js'
import { isLoopback } from './egress.js'
import type { ServerEvents } from './events.js'
import { exceeded, type LimitOptions, Limits } from './limits.js'
import type { ListenAddress, ListenOptions, ListenPath } from './listen-options.js'
import { isExhausted, Listeners, serverClosed } from './listeners.js'
import { Monitor, type ServerStats } from './monitor.js'
import { ConnectionObserver } from './observer.js'
import { assertOptionTypes } from './option-types.js'
import type { Outbound } from './outbound.js'
import { ProxyHeaderReader, type ProxyPeers } from './proxy-protocol.js'
import { type Origin, ServerSideSession, type Session } from './session.js'

/** Who is at the other end of a stream given to `handle`. */
export interface HandleOptions {
  /** The client's IP address. Without it the client counts as remote: it gets `egress.noLocal()` by default. */
  readonly clientAddress?: string | undefined
  readonly clientPort?: number | undefined
}

/** Options of `close`. */
export interface CloseOptions {
  /** Milliseconds that open tunnels and running requests may take to finish before they are destroyed. Default 5,000. */
  readonly graceMs?: number | undefined
}

/** What every front door is made of. */
export interface FrontDoorSettings {
  readonly outbound: Outbound
  readonly limits: LimitOptions
  /** Peers that put a PROXY protocol header before their clients' bytes. */
  readonly proxyPeers: ProxyPeers | undefined
  /** Whether it may listen where others than this host's own users come. */
  readonly isProtected: boolean
}

/** How long streams may take to close once they are destroyed, in milliseconds; sockets need no time at all. */
const DESTROY_MS = 1_000

/**
 * How often tunnels are looked at that have lasted, to turn TCP keep-alive on, in milliseconds. It sends its first probe
 * after hours, so nothing is lost by it, and most tunnels end before: that is four calls of the system less for each.
 */
const KEEP_ALIVE_MS = 15_000

/** Clients whose addresses are remembered. */
const MAX_KNOWN_CLIENTS = 256

interface ClientPlace {
  /** In canonical form. */
  readonly clientAddress: string
  readonly isLocal: boolean
}

/** How often a listener that has run out of descriptors is told of, in milliseconds. */
const EXHAUSTED_MS = 1_000

/** Listens, counts, limits, tells and closes. What a client may ask for is its subclass's. */
export abstract class FrontDoor extends EventEmitter<ServerEvents> {
  readonly #settings: FrontDoorSettings
  readonly #limits: Limits<ClientConnection>
  readonly #listeners: Listeners
  readonly #monitor: Monitor
  #lastId = 0
  #keepAlive: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined
  #exhaustedAt = Number.NEGATIVE_INFINITY
  // What was made of the addresses of clients that came lately: most come again.
  readonly #clients = new Map<string, ClientPlace>()
  readonly #onEmpty = (): void => this.#onIdle?.()

  /** Use `createSocksServer` or `createForwardServer`. */
  protected constructor(settings: FrontDoorSettings) {
    super()
    this.#settings = settings
    this.#limits = new Limits(settings.limits)
    this.#monitor = new Monitor(this)
    this.#listeners = new Listeners(settings.outbound.ownAddresses, {
      onSocket: (socket, isUnix) => this.#accept(socket, isUnix),
      onError: (error) => this.#onListenerError(error),
    })
  }

  /** The way out: rules, look-ups and dialing, for front doors of your own. */
  get outbound(): Outbound {
    return this.#settings.outbound
  }

  /** Where the server listens. */
  get addresses(): readonly (ListenAddress | ListenPath)[] {
    return this.#listeners.addresses
  }

  /**
   * Starts to listen, on 127.0.0.1 unless told otherwise. May be called again for further addresses.
   * @param where a port (0 takes a free one), or {@link ListenOptions}. Default: port 1080.
   * @throws SocksError `ERR_SOCKS_OPEN_PROXY` when others than this host's users could use it freely: set `auth`, set
   * `authorize`, or say `allowAnonymous: true`. `ERR_SOCKS_SERVER_CLOSED` after `close()`. Else the system's own error;
   * `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` for `reusePort` where this Node would ignore it. TypeError for a second argument.
   */
  listen(
    where?: number | (ListenOptions & { readonly path?: undefined; readonly fd?: undefined }),
  ): Promise<ListenAddress>
  listen(where: ListenOptions & { readonly path: string }): Promise<ListenPath>
  listen(where: number | ListenOptions): Promise<ListenAddress | ListenPath>
  listen(where: number | ListenOptions = {}, ...more: readonly unknown[]): Promise<ListenAddress | ListenPath> {
    // As in net.Server, whose host and callback would be lost.
    if (typeof where === 'function' || more.some((value) => value !== undefined)) {
      return Promise.reject(invalidArgument('say listen({ port, host }); it takes no callback and returns a promise'))
    }
    return this.#listeners.listen(where, this.#settings.isProtected)
  }

  /**
   * Serves one client on a stream that you accepted: TLS, a Unix socket, a WebSocket, an ssh channel. The stream is the
   * server's from here on, and is destroyed in the end.
   * @throws TypeError for what is no byte stream, or has no IP address as `clientAddress`.
   */
  handle(stream: Duplex, options: HandleOptions = {}): Session {
    assertOptions(options, ['clientAddress', 'clientPort'])
    const { clientPort } = options
    if (clientPort !== undefined && !isPort(clientPort)) throw invalidArgument('clientPort must be a port')
    if (!isByteStream(stream)) throw invalidArgument('handle takes a Duplex of bytes')
    const clientAddress = options.clientAddress === undefined ? undefined : canonicalAddress(options.clientAddress)
    const isLocal = clientAddress !== undefined && isLoopback(clientAddress)
    return this.#serve(stream, { clientAddress, clientPort, isLocal }, undefined, false)
  }

  /** What has been done so far, and what is going on. In a cluster: by this worker. */
  stats(): ServerStats {
    const { accepted, established, denied, failed } = this.#monitor
    let { bytesUp, bytesDown } = this.#monitor
    for (const { session } of this.#limits.connections) {
      bytesUp += session.bytesUp
      bytesDown += session.bytesDown
    }
    return {
      connections: this.#limits.size,
      handshakes: this.#limits.handshakes,
      listening: this.#monitor.at('listening'),
      associations: this.#monitor.at('association'),
      tunnels: this.#monitor.at('tunnel'),
      accepted,
      established,
      denied,
      failed,
      bytesUp,
      bytesDown,
    }
  }

  /**
   * Stops listening, drops clients that have not asked for anything yet, waits for open tunnels and running requests,
   * and destroys what is left when the grace is over. Resolves when all is gone; further calls share the first one's end.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    assertOptionTypes(options, { graceMs: 'milliseconds' })
    const { graceMs = 5_000 } = options
    this.#closing ??= this.#close(graceMs)
    await this.#closing
  }

  /** `close()` without a grace, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ graceMs: 0 })
  }

  /** Makes the connection that serves one client. */
  protected abstract connect(arrival: Arrival): ClientConnection

  #serve(stream: Duplex, origin: Origin, preface: ProxyHeaderReader | undefined, isOwn: boolean): Session {
    const session = new ServerSideSession(++this.#lastId, origin)
    const observer = new ConnectionObserver(this.#monitor, this.#limits, session, this.#onEmpty)
    const connection = this.connect({ stream, session, observer, preface, isOwn })
    this.#keepAlive ??= setInterval(() => this.#keepAllAlive(), KEEP_ALIVE_MS).unref()
    const limit = observer.attach(connection)
    if (this.#closing !== undefined) connection.destroy('shutdown', serverClosed())
    else if (stream.destroyed) connection.destroy('empty')
    else if (limit !== undefined) {
      observer.denied(limit)
      connection.destroy('limit', limit)
    } else {
      if (this.#limits.hasTooManyHandshakes) this.#dropOldestHandshake()
      connection.start()
    }
    return session
  }

  /** Makes room by the handshake that has waited longest: who stalls loses, not who comes. */
  #dropOldestHandshake(): void {
    const oldest = this.#limits.oldestHandshake
    if (oldest === undefined) return
    this.#limits.finishHandshake(oldest)
    oldest.connection.destroy('limit', exceeded('maxHandshakes'))
  }

  async #close(graceMs: number): Promise<void> {
    // The caller sees the promise before anything is torn down, and so does whatever a teardown calls back into.
    await Promise.resolve()
    this.#listeners.close()
    for (const connection of this.#limits.connections) {
      if (!connection.isBusy) connection.destroy('shutdown', serverClosed())
    }
    if (graceMs <= 0) this.#destroyAll()
    const grace = new Deadline(graceMs, () => this.#destroyAll())
    // A stream of the application's own may never say that it is destroyed.
    const patience = new Deadline(Math.min(graceMs + DESTROY_MS, 0x7fff_ffff), () => this.#onIdle?.())
    clearInterval(this.#keepAlive)
    if (this.#limits.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    grace.clear()
    patience.clear()
  }

  #keepAllAlive(): void {
    const { connections } = this.#limits
    for (const connection of connections) connection.keepAlive()
    if (connections.length > 0) return
    clearInterval(this.#keepAlive)
    this.#keepAlive = undefined
  }

  #destroyAll(): void {
    for (const connection of this.#limits.connections) connection.destroy('shutdown', serverClosed())
  }

  #accept(socket: Socket, isUnix: boolean): void {
    const { remoteAddress, remotePort } = socket
    const client = remoteAddress === undefined ? undefined : this.#clientAt(remoteAddress)
    const clientAddress = client?.clientAddress
    const origin: Origin = { clientAddress, clientPort: remotePort, isLocal: isUnix || client?.isLocal === true }
    const isProxy = this.#settings.proxyPeers?.has(clientAddress, isUnix) ?? false
    this.#serve(socket, origin, isProxy ? new ProxyHeaderReader(origin) : undefined, !isProxy)
  }

  #clientAt(remoteAddress: string): ClientPlace {
    const known = this.#clients.get(remoteAddress)
    if (known !== undefined) return known
    if (this.#clients.size >= MAX_KNOWN_CLIENTS) this.#clients.clear()
    const clientAddress = canonicalAddress(remoteAddress)
    const client = { clientAddress, isLocal: isLoopback(clientAddress) }
    this.#clients.set(remoteAddress, client)
    return client
  }

  /** Out of descriptors: makes room, and says so now and then instead of at every attempt. */
  #onListenerError(error: Error): void {
    if (isExhausted(error)) {
      this.#dropOldestHandshake()
      const now = performance.now()
      if (now - this.#exhaustedAt < EXHAUSTED_MS) return
      this.#exhaustedAt = now
    }
    this.#monitor.tell('error', error, undefined)
  }
}

function canonicalAddress(address: string): string {
  if (typeof address !== 'string') throw invalidArgument('clientAddress must be an IP address')
  // Link-local addresses of accepted sockets come with a zone, which names an interface and no client.
  const literal = canonicalIP(address.replace(/%[^%]*$/, ''))
  if (literal === undefined) throw invalidArgument('clientAddress must be an IP address')
  return literal.host
}
