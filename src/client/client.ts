import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { isByteStream } from '../stream/byte-stream.js'
import type { UdpAssociation } from '../udp/index.js'
import { Chain, type Connection, type Hop } from './chain.js'
import { createDialer, type Dialer } from './dialer.js'
import { parseTarget } from './idn.js'
import type { ProxyLike } from './proxy-url.js'
import { type UdpAssociateOptions, udpAssociate } from './udp.js'

// A hop to the other side of the world with a slow login takes a few seconds; a person gives up after about as long.
const DEFAULT_TIMEOUT_MS = 30_000
// Node's timers fire at once when they are given more.
const MAX_TIMEOUT_MS = 0x7fffffff

/** How to get out. */
export interface SocksClientOptions {
  /** One proxy, or a chain in the order in which they are passed: the second is reached through the first. */
  readonly proxy: ProxyLike | readonly ProxyLike[]
  /** Milliseconds for all of it: lookup, TCP, TLS and every hop; 0 is no limit. Default 30,000. */
  readonly timeoutMs?: number | undefined
  /** Refuse a proxy that would let us in without our credentials: offer no other method. Default `false`. */
  readonly requireAuth?: boolean | undefined
  /** In place of `dns.lookup`: for the name of the first proxy, and for targets of proxies that do not resolve. */
  readonly lookup?: LookupFunction | undefined
  /** Local IP address from which the first proxy is dialed. */
  readonly localAddress?: string | undefined
  /** Called after each hop has said yes. What it throws ends the operation. */
  readonly onHop?: ((hop: Hop) => void) | undefined
}

/** Where to go. */
export interface ConnectOptions {
  /** Name or IP literal; international names are sent as punycode. */
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
  /** Aborting destroys everything opened so far and rejects with the signal's reason. No effect after success. */
  readonly signal?: AbortSignal | undefined
  /** Overrides the client's. */
  readonly timeoutMs?: number | undefined
  /** A stream that leads to the first proxy already: an ssh channel, say. Once anything is said on it, a failure destroys it. */
  readonly socket?: Duplex | undefined
}

/** Connects through a SOCKS5 proxy, or through a chain of them. Holds no connection itself. */
export class SocksClient {
  readonly #chain: Chain
  readonly #timeoutMs: number
  readonly #lookup: LookupFunction | undefined

  /**
   * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError and RangeError for other options. No error quotes a proxy URL.
   */
  constructor(options: SocksClientOptions) {
    assertOptions(options, CLIENT_KEYS)
    const { proxy, timeoutMs = DEFAULT_TIMEOUT_MS, requireAuth = false, lookup, localAddress, onHop } = options
    if (localAddress !== undefined && isIP(localAddress) === 0)
      throw invalidArgument('localAddress must be an IP address')
    for (const [name, hook] of Object.entries({ lookup, onHop })) {
      if (hook !== undefined && typeof hook !== 'function') throw invalidArgument(`${name} must be a function`)
    }
    this.#timeoutMs = checkTimeout(timeoutMs)
    this.#lookup = lookup
    this.#chain = new Chain(proxy, { requireAuth, lookup, localAddress, onHop })
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async connect<Stream extends Duplex = Socket>(
    options: SocksClientOptions & ConnectOptions & { readonly socket?: Stream | undefined },
  ): Promise<Connection<Stream>> {
    return connectOnce<Stream>(options)
  }

  /**
   * Resolves to a socket whose other end is the target. It is idle: nothing that the target says is lost before you
   * read, in whatever way and however late. A reset before you listen does not end the process; see `destroyed`.
   * @throws SocksError (rejects) with `hop` and `target`; `ERR_SOCKS_INVALID_HOST` before any I/O; the signal's reason.
   */
  async connect<Stream extends Duplex = Socket>(
    options: ConnectOptions & { readonly socket?: Stream | undefined },
  ): Promise<Connection<Stream>> {
    assertOptions(options, CONNECT_KEYS)
    const { host, port, signal, timeoutMs = this.#timeoutMs, socket } = options
    if (typeof host !== 'string') throw invalidArgument('host must be a string')
    if (!isPort(port)) throw outOfRange('port must be an integer from 0 to 65535')
    if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
      throw invalidArgument('signal must be an AbortSignal')
    }
    if (socket !== undefined && !isByteStream(socket)) throw invalidArgument('socket must be a Duplex of bytes')
    const destination = parseTarget(host, port)
    const connection = await this.#chain.connect({ destination, signal, timeoutMs: checkTimeout(timeoutMs), socket })
    // The stream that came in goes out, or (none given) a socket of our own; TLS to a proxy is a socket, too.
    return connection as Connection<Duplex> as Connection<Stream>
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async udpAssociate(options: SocksClientOptions & UdpAssociateOptions): Promise<UdpAssociation> {
    assertOptions(options, [...CLIENT_KEYS, ...ASSOCIATE_KEYS])
    const { signal, relayAddress, reassemble, maxQueued, ...clientOptions } = options
    return new SocksClient(clientOptions).udpAssociate({ signal, relayAddress, reassemble, maxQueued })
  }

  /**
   * Asks the proxy for a relay of datagrams. Resolves to something like a `dgram.Socket` that sends through it; it lives as
   * long as its connection to the proxy does.
   * @throws SocksError (rejects) `ERR_SOCKS_INVALID_PROXY` for a chain, which datagrams would leave at its last proxy
   * alone; else as {@link connect}.
   */
  async udpAssociate(options: UdpAssociateOptions = {}): Promise<UdpAssociation> {
    assertOptions(options, ASSOCIATE_KEYS)
    const { timeoutMs = this.#timeoutMs, ...rest } = options
    return udpAssociate(this.#chain, { ...rest, timeoutMs: checkTimeout(timeoutMs), lookup: this.#lookup })
  }

  /** The proxies in the order in which they are passed, without credentials, to print. */
  get proxies(): readonly string[] {
    return this.#chain.labels
  }

  /** For `createSocksServer({ dial: client.dialer() })`: every request goes out through this client's proxies. */
  dialer(): Dialer {
    return createDialer((request) => this.connect(request), this.#chain.lastHop)
  }
}

const CLIENT_KEYS = ['proxy', 'timeoutMs', 'requireAuth', 'lookup', 'localAddress', 'onHop']
const ASSOCIATE_KEYS = ['signal', 'timeoutMs', 'relayAddress', 'reassemble', 'maxQueued']
const CONNECT_KEYS = ['host', 'port', 'signal', 'timeoutMs', 'socket']

async function connectOnce<Stream extends Duplex>(
  options: SocksClientOptions & ConnectOptions & { readonly socket?: Stream | undefined },
): Promise<Connection<Stream>> {
  assertOptions(options, [...CLIENT_KEYS, ...CONNECT_KEYS])
  const { host, port, signal, socket, ...clientOptions } = options
  return new SocksClient(clientOptions).connect<Stream>({ host, port, signal, socket })
}

function checkTimeout(timeoutMs: number): number {
  if (Number.isFinite(timeoutMs) && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs
  throw outOfRange(`timeoutMs must be a number from 0 to ${MAX_TIMEOUT_MS}`)
}
