import type { RemoteInfo } from 'node:dgram'
import { EventEmitter } from 'node:events'
import { invalidArgument, outOfRange } from '../codec/arguments.js'
import { type Destination, parseDestination, SocksError } from '../codec/index.js'
import { ForwardClient, type ForwardHost } from './forward-client.js'
import { IdleMap } from './idle-map.js'
import { assertOptionTypes, bindable, type OptionType } from './options.js'
import { type SocketAddress, UdpSocket } from './socket.js'
import { Sweeper } from './sweeper.js'
import {
  type AssociationLike,
  associationUpstream,
  directUpstream,
  type OpenUpstream,
  type UdpLookup,
} from './upstream.js'

/** Options of {@link createUdpForward}. */
export interface UdpForwardOptions {
  /** Where everything goes. A name is looked up once for each client, or goes to the proxy as it is. */
  readonly target: { readonly host: string; readonly port: number }
  /** Opens an association for each client: `() => client.udpAssociate()`. Default: straight to the target. */
  readonly open?: (() => Promise<AssociationLike>) | undefined
  /** Replaces `dns.lookup`, with its signature. Not with `open`. */
  readonly lookup?: UdpLookup | undefined
  /** IP address to send from. Not with `open`. */
  readonly localAddress?: string | undefined
  /** Milliseconds without a datagram either way until a client's way is closed; 0 is never. Default 120,000 (RFC 4787). */
  readonly idleTimeoutMs?: number | undefined
  /**
   * Clients at a time; the one that was silent for longest makes room. Each has a socket. Default 1,024; with `open` 200,
   * because each is an association, of which proxies allow one address a few (a server of this package 256).
   */
  readonly maxClients?: number | undefined
}

/** Where a {@link UdpForward} listens. */
export interface UdpListenOptions {
  /** Default 0: a free one. */
  readonly port?: number | undefined
  /** IP literal. Default `127.0.0.1`. Whoever can reach it can reach the target. */
  readonly host?: string | undefined
}

/** Events of a {@link UdpForward}, by name, with their arguments. */
export interface UdpForwardEvents {
  /** The way of a client could not be opened, or broke. Without a listener nothing is thrown. */
  error: [error: unknown]
}

/** What a forward has done so far. Bytes are those of payloads. */
export interface UdpForwardStats {
  /** Clients at present. */
  readonly clients: number
  readonly datagramsUp: number
  readonly bytesUp: number
  readonly datagramsDown: number
  readonly bytesDown: number
  readonly dropped: number
}

const TYPES: Readonly<Record<keyof UdpForwardOptions, OptionType>> = {
  target: 'object',
  open: 'function',
  lookup: 'function',
  localAddress: 'ip',
  idleTimeoutMs: 'milliseconds',
  maxClients: 'count',
}

/**
 * A UDP forwarder with one target, that listens on nothing yet. Each client, by its address and port, gets a socket of its
 * own, so that answers find their way back.
 * @throws TypeError, RangeError for options; SocksError `ERR_SOCKS_INVALID_HOST`.
 */
export function createUdpForward(options: UdpForwardOptions): UdpForward {
  return new UdpForward(options)
}

/** See {@link createUdpForward}. */
export class UdpForward extends EventEmitter<UdpForwardEvents> {
  readonly #host: ForwardHost
  readonly #clients: IdleMap<ForwardClient>
  readonly #sweeper: Sweeper
  readonly #listeners = new Set<UdpSocket>()
  // Near addresses of our own: a datagram that comes from there has gone round.
  readonly #own = new Set<string>()
  readonly #counters = { datagramsUp: 0, bytesUp: 0, datagramsDown: 0, bytesDown: 0, dropped: 0 }
  #isClosed = false

  /** Use {@link createUdpForward}. */
  constructor(options: UdpForwardOptions) {
    super()
    assertOptionTypes(options, TYPES)
    const { target, open, idleTimeoutMs = 120_000, maxClients = open === undefined ? 1_024 : 200 } = options
    this.#host = this.#hostOf(upstreamOf(options, destinationOf(target)))
    this.#clients = new IdleMap({ maxEntries: maxClients, idleTimeoutMs, onRemoved: (client) => client.close() })
    this.#sweeper = new Sweeper((now) => {
      this.#clients.expire(now)
      return this.#clients.nextExpiryAt
    })
  }

  /**
   * Starts to listen, on 127.0.0.1 unless told otherwise. May be called again for further addresses.
   * @throws (rejects) TypeError, RangeError; SocksError `ERR_SOCKS_SERVER_CLOSED` after `close()`; the system's error.
   */
  async listen(where: number | UdpListenOptions = {}): Promise<SocketAddress> {
    const options: UdpListenOptions = typeof where === 'number' ? { port: where } : where
    assertOptionTypes(options, { port: 'port', host: 'ip' })
    if (this.#isClosed) throw new SocksError('ERR_SOCKS_SERVER_CLOSED', 'the forward is closed')
    const { port = 0, host = '127.0.0.1' } = options
    const listener: UdpSocket = new UdpSocket({
      host: bindable(host, 'option host'),
      port,
      onMessage: (data, from) => this.#onDatagram(listener, data, from),
      onError: () => {
        this.#counters.dropped++
      },
    })
    this.#listeners.add(listener)
    return listener.address
  }

  /** Where it listens. */
  get addresses(): readonly SocketAddress[] {
    return [...this.#listeners].map(({ address }) => address)
  }

  /** A copy of the counters. */
  stats(): UdpForwardStats {
    return { ...this.#counters, clients: this.#clients.size }
  }

  /** At once: nothing is sent or received after it, and every client's way is closed. May be called again. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#sweeper.stop()
    for (const listener of this.#listeners) listener.close()
    this.#listeners.clear()
    this.#clients.clear()
  }

  /** As `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #onDatagram(listener: UdpSocket, data: Buffer, from: RemoteInfo): void {
    const now = performance.now()
    const client = this.#clientFor(listener, from, now)
    if (client === undefined) this.#counters.dropped++
    else client.send(data, now)
  }

  #clientFor(listener: UdpSocket, { address, port }: RemoteInfo, now: number): ForwardClient | undefined {
    const key = `${keyOf({ host: address, port })} ${keyOf(listener.address)}`
    const known = this.#clients.get(key)
    if (known !== undefined && this.#clients.use(known, now)) return known.value
    // Nothing could be sent back to port 0.
    if (port === 0 || this.#own.has(keyOf({ host: address, port }))) return undefined
    const client = new ForwardClient(this.#host, (data) => {
      // In use, whoever talks.
      const entry = this.#clients.get(key)
      if (entry !== undefined) this.#clients.use(entry, performance.now())
      if (!listener.send(data, port, address)) this.#counters.dropped++
      else {
        this.#counters.datagramsDown++
        this.#counters.bytesDown += data.length
      }
    })
    this.#clients.add(key, client, now)
    if (!this.#sweeper.isArmed) this.#sweeper.arm(this.#clients.nextExpiryAt)
    return client
  }

  #hostOf(open: OpenUpstream): ForwardHost {
    return {
      open,
      waitingBytes: 0,
      onOpen: (address) => {
        if (address !== undefined) this.#own.add(keyOf(address))
      },
      onClose: (address) => {
        if (address !== undefined) this.#own.delete(keyOf(address))
      },
      onSent: ({ length }) => {
        this.#counters.datagramsUp++
        this.#counters.bytesUp += length
      },
      onDrop: () => {
        this.#counters.dropped++
      },
      onFailure: (error) => {
        if (this.listenerCount('error') > 0) process.nextTick(() => this.emit('error', error))
      },
    }
  }
}

function upstreamOf({ open, lookup, localAddress }: UdpForwardOptions, target: Destination): OpenUpstream {
  if (open === undefined) {
    return directUpstream(
      target,
      lookup,
      localAddress === undefined ? undefined : bindable(localAddress, 'localAddress'),
    )
  }
  if (lookup !== undefined || localAddress !== undefined) {
    throw invalidArgument('lookup and localAddress belong to the association that open() gives')
  }
  return associationUpstream(target, open)
}

function destinationOf(target: UdpForwardOptions['target'] | undefined): Destination {
  // A Destination will do, too: both are required, so that no other key can be a misspelt one.
  assertOptionTypes({ host: target?.host, port: target?.port }, { host: 'string', port: 'port' })
  if (target?.host === undefined) throw invalidArgument('option target is { host, port }')
  if (target.port === undefined || target.port === 0) throw outOfRange('option target.port must be from 1 to 65535')
  return parseDestination(target.host, target.port)
}

function keyOf({ host, port }: SocketAddress): string {
  return `${host} ${port}`
}
