import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { assertBytes, assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { Command } from '../codec/constants.js'
import { type Destination, toDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import { isByteStream } from '../stream/byte-stream.js'
import type { UdpAssociation } from '../udp/index.js'
import { type BindRequestOptions, type BoundListener, bind } from './bind.js'
import { Chain, type Connection, type Hop } from './chain.js'
import { createDialer, type Dialer } from './dialer.js'
import { parseTarget } from './idn.js'
import { CLIENT_HINTS, unlessText } from './option-hints.js'
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
  /** Refuse a proxy that would let us in whoever we are: do not offer "no authentication". Default `false`. */
  readonly requireAuth?: boolean | undefined
  /**
   * Give proxies without credentials a fresh random username and password for each connection. Tor keeps connections of
   * different credentials on different circuits. Default `false`.
   */
  readonly isolate?: boolean | undefined
  /**
   * Tell each proxy everything at once, in one flight: greeting, credentials, request and `firstData`. It saves a round
   * trip, two with credentials. A proxy that reads one message at a time loses what came early, and the attempt times out.
   * Not with `auth` of a proxy. Default `false`.
   */
  readonly optimistic?: boolean | undefined
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
  /**
   * The first bytes for the target; a copy is sent. With `optimistic` they go with the request to the last proxy, which sees
   * them even where it refuses, and then they are lost; else behind its success. Default: none.
   */
  readonly firstData?: Uint8Array | undefined
}

/** What to look up, at the proxy. */
export interface LookUpOptions {
  /** A name, or for `resolvePtr` an IP literal. */
  readonly host: string
  readonly signal?: AbortSignal | undefined
  /** Overrides the client's. */
  readonly timeoutMs?: number | undefined
}

/** Goes through a SOCKS proxy, or through a chain of them. Holds no connection itself. */
export class SocksClient {
  readonly #chain: Chain
  readonly #timeoutMs: number
  readonly #lookup: LookupFunction | undefined

  /**
   * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError and RangeError for other options. No error quotes a proxy URL.
   */
  constructor(options: SocksClientOptions) {
    assertOptions(options, CLIENT_KEYS, CLIENT_HINTS)
    const { proxy, timeoutMs = DEFAULT_TIMEOUT_MS, lookup, localAddress, onHop } = options
    const { requireAuth = false, isolate = false, optimistic = false } = options
    for (const [name, choice] of Object.entries({ isolate, optimistic })) {
      if (typeof choice !== 'boolean') throw invalidArgument(`${name} must be a boolean`)
    }
    if (localAddress !== undefined && isIP(localAddress) === 0)
      throw invalidArgument('localAddress must be an IP address')
    for (const [name, hook] of Object.entries({ lookup, onHop })) {
      if (hook !== undefined && typeof hook !== 'function') throw invalidArgument(`${name} must be a function`)
    }
    this.#timeoutMs = checkTimeout(timeoutMs)
    this.#lookup = lookup
    this.#chain = new Chain(proxy, { requireAuth, isolate, optimistic, lookup, localAddress, onHop })
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
    assertOptions(options, CONNECT_KEYS, CLIENT_HINTS)
    const { host, port, signal, timeoutMs = this.#timeoutMs, socket } = options
    const destination = this.#target(host, port)
    const firstData = copyOf(options.firstData)
    checkSignal(signal)
    if (socket !== undefined && !isByteStream(socket)) throw invalidArgument('socket must be a Duplex of bytes')
    const limits = { signal, timeoutMs: checkTimeout(timeoutMs) }
    const connection = await this.#chain.connect({ destination, ...limits, socket, firstData })
    // The stream that came in goes out, or (none given) a socket of our own; TLS to a proxy is a socket, too.
    return connection as Connection<Duplex> as Connection<Stream>
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async bind(options: SocksClientOptions & BindRequestOptions): Promise<BoundListener> {
    assertOptions(options, [...CLIENT_KEYS, ...BIND_KEYS], CLIENT_HINTS)
    const { host, port, signal, ...clientOptions } = options
    return new SocksClient(clientOptions).bind({ host, port, signal })
  }

  /**
   * Asks the proxy (of a chain the last one) to listen for one peer. Resolves to a listener that tells where; a peer that
   * comes early waits there, with what it says.
   * @throws SocksError (rejects) as {@link connect}.
   */
  async bind(options: BindRequestOptions = {}): Promise<BoundListener> {
    assertOptions(options, BIND_KEYS, CLIENT_HINTS)
    const { host = '0.0.0.0', port = 0, signal, timeoutMs = this.#timeoutMs } = options
    const destination = this.#target(host, port)
    return bind(this.#chain, destination, { signal: checkSignal(signal), timeoutMs: checkTimeout(timeoutMs) })
  }

  /** As the method of an instance. Whatever is wrong, it rejects. */
  static async resolve(options: SocksClientOptions & LookUpOptions): Promise<string> {
    return lookUpOnce(options, (client, request) => client.resolve(request))
  }

  /** As the method of an instance. Whatever is wrong, it rejects. */
  static async resolvePtr(options: SocksClientOptions & LookUpOptions): Promise<string> {
    return lookUpOnce(options, (client, request) => client.resolvePtr(request))
  }

  /**
   * Asks the proxy for an address of a name (Tor's RESOLVE): an IP literal. Few other proxies know it.
   * @throws SocksError (rejects) as {@link connect}; `ERR_SOCKS_INVALID_HOST` for an answer that is none.
   */
  async resolve(options: LookUpOptions): Promise<string> {
    const { type, host } = await this.#lookUp(Command.resolve, options)
    if (type === 'domain') throw noAnswer('the proxy answered with a name where an address was asked for')
    return host
  }

  /** Asks the proxy for the name of an address (Tor's RESOLVE_PTR). `host` is an IP literal. @throws as {@link resolve}. */
  async resolvePtr(options: LookUpOptions): Promise<string> {
    return (await this.#lookUp(Command.resolvePtr, options)).host
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async udpAssociate(options: SocksClientOptions & UdpAssociateOptions): Promise<UdpAssociation> {
    assertOptions(options, [...CLIENT_KEYS, ...ASSOCIATE_KEYS], CLIENT_HINTS)
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
    assertOptions(options, ASSOCIATE_KEYS, CLIENT_HINTS)
    const { timeoutMs = this.#timeoutMs, ...rest } = options
    return udpAssociate(this.#chain, { ...rest, timeoutMs: checkTimeout(timeoutMs), lookup: this.#lookup })
  }

  /** The proxies in the order in which they are passed, without credentials, to print. */
  get proxies(): readonly string[] {
    return this.#chain.labels
  }

  async #lookUp(command: number, options: LookUpOptions): Promise<Destination> {
    assertOptions(options, LOOK_UP_KEYS, CLIENT_HINTS)
    const { host, signal, timeoutMs = this.#timeoutMs } = options
    const destination = this.#target(host, 0)
    const request = { destination, signal: checkSignal(signal), timeoutMs: checkTimeout(timeoutMs), socket: undefined }
    return this.#chain.complete({ ...request, command }, async ({ socket, bound }) => {
      // It has said all it had to say.
      socket.destroy()
      return toDestination(bound)
    })
  }

  #target(host: string, port: number): Destination {
    if (typeof host !== 'string') throw invalidArgument('host must be a string')
    if (!isPort(port)) throw outOfRange(`port must be an integer from 0 to 65535${unlessText(port)}`)
    return parseTarget(host, port)
  }

  /** For `createSocksServer({ dial: client.dialer() })`: every request goes out through this client's proxies. */
  dialer(): Dialer {
    return createDialer((request) => this.connect(request), this.#chain.lastHop)
  }
}

/** What may be said beside the proxy. */
export const TUNNEL_KEYS: readonly string[] = [
  'timeoutMs',
  'requireAuth',
  'isolate',
  'optimistic',
  'lookup',
  'localAddress',
  'onHop',
]
const CLIENT_KEYS = ['proxy', ...TUNNEL_KEYS]
const ASSOCIATE_KEYS = ['signal', 'timeoutMs', 'relayAddress', 'reassemble', 'maxQueued']
const BIND_KEYS = ['host', 'port', 'signal', 'timeoutMs']
const LOOK_UP_KEYS = ['host', 'signal', 'timeoutMs']
const CONNECT_KEYS = ['host', 'port', 'signal', 'timeoutMs', 'socket', 'firstData']

async function connectOnce<Stream extends Duplex>(
  options: SocksClientOptions & ConnectOptions & { readonly socket?: Stream | undefined },
): Promise<Connection<Stream>> {
  assertOptions(options, [...CLIENT_KEYS, ...CONNECT_KEYS], CLIENT_HINTS)
  const { host, port, signal, socket, firstData, ...clientOptions } = options
  return new SocksClient(clientOptions).connect<Stream>({ host, port, signal, socket, firstData })
}

/** @throws TypeError for what is no bytes: text would silently become something else. */
function copyOf(firstData: Uint8Array | undefined): Uint8Array | undefined {
  if (firstData === undefined) return undefined
  assertBytes(firstData, 'firstData')
  const { buffer, byteOffset, byteLength } = firstData
  return new Uint8Array(buffer, byteOffset, byteLength).slice()
}

function checkTimeout(timeoutMs: number): number {
  if (Number.isFinite(timeoutMs) && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs
  throw outOfRange(`timeoutMs must be a number from 0 to ${MAX_TIMEOUT_MS}`)
}

function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined || typeof signal?.addEventListener === 'function') return signal
  throw invalidArgument('signal must be an AbortSignal')
}

function noAnswer(message: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_HOST', message)
}

async function lookUpOnce(
  options: SocksClientOptions & LookUpOptions,
  ask: (client: SocksClient, request: LookUpOptions) => Promise<string>,
): Promise<string> {
  assertOptions(options, [...CLIENT_KEYS, ...LOOK_UP_KEYS], CLIENT_HINTS)
  const { host, signal, ...clientOptions } = options
  return ask(new SocksClient(clientOptions), { host, signal })
}
