import { EventEmitter, once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { assertOptions, invalidArgument, isPort } from '../codec/arguments.js'
import { canonicalIP, SocksError } from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import { Deadline } from '../stream/deadline.js'
import { Connection } from './connection.js'
import { type CloseReason, isDenial, isFault, type SocksServerEvents } from './events.js'
import { bindOptions, type ListenAddress, type ListenOptions } from './listen-options.js'
import { assertOptionTypes } from './option-types.js'
import { type ServerOptions, type ServerSettings, serverSettings } from './options.js'
import type { Outbound } from './outbound.js'
import { ServerSideSession, type Session } from './session.js'

/** Who is at the other end of a stream given to {@link SocksServer.handle}. */
export interface HandleOptions {
  /** The client's IP address. Without it the client counts as remote: it gets `egress.noLocal()` by default. */
  readonly clientAddress?: string | undefined
  readonly clientPort?: number | undefined
}

/** Options of {@link SocksServer.close}. */
export interface CloseOptions {
  /** Milliseconds that open tunnels and running requests may take to finish before they are destroyed. Default 5,000. */
  readonly graceMs?: number | undefined
}

/** How long streams may take to close once they are destroyed, in milliseconds; sockets need no time at all. */
const DESTROY_MS = 1_000

/**
 * A SOCKS5 server that listens on nothing yet.
 * @throws TypeError, RangeError for options that are unknown, of a wrong type, or contradict each other.
 */
export function createSocksServer(options: ServerOptions = {}): SocksServer {
  return new SocksServer(options)
}

/** See {@link createSocksServer}. */
export class SocksServer extends EventEmitter<SocksServerEvents> {
  readonly #settings: ServerSettings
  readonly #listeners = new Map<Server, ListenAddress>()
  readonly #connections = new Set<Connection>()
  #lastId = 0
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  /** Use {@link createSocksServer}. */
  constructor(options: ServerOptions) {
    super()
    this.#settings = serverSettings(options)
  }

  /** The way out: rules, look-ups and dialing, for front doors of your own. */
  get outbound(): Outbound {
    return this.#settings.outbound
  }

  /** Where the server listens. */
  get addresses(): readonly ListenAddress[] {
    return [...this.#listeners.values()]
  }

  /**
   * Starts to listen, on 127.0.0.1 unless told otherwise. May be called again for further addresses.
   * @param where a port (0 takes a free one), or {@link ListenOptions}. Default: port 1080.
   * @throws SocksError `ERR_SOCKS_OPEN_PROXY` when others than this host's users could use it freely: set `auth`, set
   * `authorize`, or say `allowAnonymous: true`. `ERR_SOCKS_SERVER_CLOSED` after `close()`. Else the system's own error.
   */
  async listen(where: number | ListenOptions = {}): Promise<ListenAddress> {
    const { isOpen, allowAnonymous } = this.#settings
    const options = await bindOptions(where, !isOpen || allowAnonymous)
    if (this.#closing !== undefined) throw serverClosed()
    const listener: Server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    )
    listener.listen(options)
    await once(listener, 'listening')
    if (this.#closing !== undefined) {
      listener.close()
      throw serverClosed()
    }
    listener.on('error', (error) => this.#tell('error', error, undefined))
    const address = addressOf(listener)
    this.outbound.ownAddresses.add(address.host, address.port)
    this.#listeners.set(listener, address)
    return address
  }

  /**
   * Serves one client on a stream that you accepted: TLS, a Unix socket, a WebSocket, an ssh channel. The stream is the
   * server's from here on, and is destroyed in the end.
   * @throws TypeError for what is no byte stream, or has no IP address as `clientAddress`.
   */
  handle(stream: Duplex, options: HandleOptions = {}): Session {
    assertOptions(options, ['clientAddress', 'clientPort'])
    const { clientAddress, clientPort } = options
    if (clientPort !== undefined && !isPort(clientPort)) throw invalidArgument('clientPort must be a port')
    if (!isByteStream(stream)) {
      throw invalidArgument('handle takes a Duplex of bytes')
    }
    const session = new ServerSideSession(++this.#lastId, canonicalAddress(clientAddress), clientPort)
    const connection = new Connection(stream, session, this.#settings, {
      request: (info) => this.#tell('request', info),
      established: (info) => this.#tell('established', info),
      refused: (error) => this.#onRefused(session, error),
      closed: (reason, error) => this.#onClosed(connection, reason, error),
    })
    this.#connections.add(connection)
    this.#tell('session', session)
    if (this.#closing !== undefined) connection.destroy('shutdown', serverClosed())
    else if (stream.destroyed) connection.destroy('empty')
    else connection.start()
    return session
  }

  /**
   * Stops listening, drops clients that have not asked for anything yet, waits for open tunnels and running requests,
   * and destroys what is left when the grace is over. Resolves when all is gone; further calls share the first one's end.
   */
  close(options: CloseOptions = {}): Promise<void> {
    assertOptionTypes(options, { graceMs: 'milliseconds' })
    const { graceMs = 5_000 } = options
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  /** `close()` without a grace, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ graceMs: 0 })
  }

  async #close(graceMs: number): Promise<void> {
    // The caller sees the promise before anything is torn down, and so does whatever a teardown calls back into.
    await Promise.resolve()
    const listeners = [...this.#listeners].map(([listener, address]) => this.#closeListener(listener, address))
    for (const connection of this.#connections) if (!connection.isBusy) connection.destroy('shutdown', serverClosed())
    if (graceMs <= 0) this.#destroyAll()
    const grace = new Deadline(graceMs, () => this.#destroyAll())
    // A stream of the application's own may never say that it is destroyed.
    const patience = new Deadline(Math.min(graceMs + DESTROY_MS, 0x7fff_ffff), () => this.#onIdle?.())
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    grace.clear()
    patience.clear()
    await Promise.all(listeners)
  }

  #closeListener(listener: Server, { host, port }: ListenAddress): Promise<unknown> {
    this.#listeners.delete(listener)
    this.outbound.ownAddresses.remove(host, port)
    return new Promise((resolve) => listener.close(resolve))
  }

  #destroyAll(): void {
    for (const connection of this.#connections) connection.destroy('shutdown', serverClosed())
  }

  #accept(socket: Socket): void {
    this.handle(socket, { clientAddress: socket.remoteAddress, clientPort: socket.remotePort })
  }

  #onRefused(session: Session, error: SocksError): void {
    const { identity, destination } = session
    if (isFault(error)) this.#tell('error', error, session)
    if (isDenial(error)) this.#tell('denied', { session, identity, destination, error })
  }

  #onClosed(connection: Connection, reason: CloseReason, error: Error | undefined): void {
    const { session } = connection
    const { identity, destination, bytesUp, bytesDown, durationMs } = session
    this.#connections.delete(connection)
    this.#tell('closed', { session, identity, destination, bytesUp, bytesDown, durationMs, reason, error })
    if (this.#connections.size === 0) this.#onIdle?.()
  }

  /**
   * Emits an event. A listener that throws must not unwind a connection half-way: its error is thrown, as Node does with
   * errors of listeners, but in a turn of its own.
   */
  #tell<Name extends keyof SocksServerEvents>(name: Name, ...args: SocksServerEvents[Name]): void {
    if (this.listenerCount(name) === 0) return
    try {
      EventEmitter.prototype.emit.call(this, name, ...args)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }
}

function canonicalAddress(address: string | undefined): string | undefined {
  if (address === undefined) return undefined
  if (typeof address !== 'string') throw invalidArgument('clientAddress must be an IP address')
  // Link-local addresses of accepted sockets come with a zone, which names an interface and no client.
  const literal = canonicalIP(address.replace(/%[^%]*$/, ''))
  if (literal === undefined) throw invalidArgument('clientAddress must be an IP address')
  return literal.host
}

function addressOf(listener: Server): ListenAddress {
  const address = listener.address()
  if (typeof address !== 'object' || address === null) throw new TypeError('the listener has no address')
  return { host: address.address, port: address.port }
}

function serverClosed(): SocksError {
  return new SocksError('ERR_SOCKS_SERVER_CLOSED', 'the server is closed')
}
