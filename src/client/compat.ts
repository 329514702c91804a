import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { invalidArgument } from '../codec/arguments.js'
import { isByteStream } from '../stream/byte-stream.js'
import type { UdpAssociation } from '../udp/index.js'
import type { BindRequestOptions, BoundListener } from './bind.js'
import type { Connection } from './chain.js'
import {
  SocksClient as Client,
  type SocksClientOptions as ClientOptions,
  type ConnectOptions,
  type LookUpOptions,
} from './client.js'
import { type CommandRequest, chainRequest, commandRequest } from './compat-request.js'
import { runCommand } from './compat-run.js'
import type {
  SocksClientCallback,
  SocksClientChainOptions,
  SocksClientEstablishedEvent,
  SocksClientEvents,
  SocksClientOptions,
  SocksConnectionOptions,
  SocksUDPFrameDetails,
} from './compat-types.js'
import { createUDPFrame, parseUDPFrame } from './compat-udp-frame.js'
import type { Dialer } from './dialer.js'
import type { UdpAssociateOptions } from './udp.js'

/**
 * Goes through a SOCKS proxy, or through a chain of them. Holds no connection itself.
 *
 * It is a drop-in for the class of that name in npm `socks` 2.8, too: `createConnection`, `createConnectionChain`, the two
 * functions for datagrams, and a client that is made with a `command` and a `destination`, whose `connect()` tells by
 * events what comes of it. See `docs/migrating.md`.
 */
export class SocksClient extends EventEmitter<SocksClientEvents> {
  static {
    // In the bundle another class has the name; people see this one.
    Object.defineProperty(SocksClient, 'name', { value: 'SocksClient' })
  }

  readonly #client: Client | undefined
  readonly #request: CommandRequest | undefined

  /**
   * With `command` and `destination` the client is for that one command; the methods other than `connect()` throw then.
   * @throws SocksError `ERR_SOCKS_INVALID_PROXY`; TypeError and RangeError for other options. No error quotes a proxy URL.
   */
  constructor(options: SocksClientOptions) {
    super()
    if (isCommand(options)) this.#request = commandRequest(options)
    else this.#client = new Client(options)
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async connect<Stream extends Duplex = Socket>(
    options: ClientOptions & ConnectOptions & { readonly socket?: Stream | undefined },
  ): Promise<Connection<Stream>> {
    return Client.connect<Stream>(options)
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static override async bind(options: ClientOptions & BindRequestOptions): Promise<BoundListener> {
    return Client.bind(options)
  }

  /** As the method of an instance. Whatever is wrong, it rejects. */
  static async resolve(options: ClientOptions & LookUpOptions): Promise<string> {
    return Client.resolve(options)
  }

  /** As the method of an instance. Whatever is wrong, it rejects. */
  static async resolvePtr(options: ClientOptions & LookUpOptions): Promise<string> {
    return Client.resolvePtr(options)
  }

  /** As the method of an instance, with the options of both. Whatever is wrong, it rejects. */
  static async udpAssociate(options: ClientOptions & UdpAssociateOptions): Promise<UdpAssociation> {
    return Client.udpAssociate(options)
  }

  /**
   * npm `socks`: connects to `destination` through one proxy. With a callback nobody need look at the promise.
   * @throws SocksClientError (rejects); TypeError, RangeError (reject) for wrong options, before any I/O.
   */
  static createConnection(
    options: SocksClientOptions,
    callback?: SocksClientCallback,
  ): Promise<SocksClientEstablishedEvent> {
    // What is no command is told what it lacks.
    return called(async () => runCommand(commandRequest(options as SocksConnectionOptions, ['connect'])), callback)
  }

  /** npm `socks`: connects to `destination` through two proxies or more. @throws as {@link createConnection}. */
  static createConnectionChain(
    options: SocksClientChainOptions,
    callback?: SocksClientCallback,
  ): Promise<SocksClientEstablishedEvent> {
    return called(async () => runCommand(chainRequest(options)), callback)
  }

  /**
   * npm `socks`: a datagram for the relay of a proxy.
   * @throws TypeError, RangeError for a wrong type, and for more than fits a datagram; SocksError `ERR_SOCKS_INVALID_HOST`.
   */
  static createUDPFrame(details: SocksUDPFrameDetails): Buffer {
    return createUDPFrame(details)
  }

  /**
   * npm `socks`: reads a datagram of the relay. `data` is a view into it, not a copy.
   * @throws SocksError for what is no datagram of SOCKS5; TypeError for what is not bytes.
   */
  static parseUDPFrame(data: Uint8Array): SocksUDPFrameDetails {
    return parseUDPFrame(data)
  }

  /**
   * Resolves to a socket whose other end is the target. It is idle: nothing that the target says is lost before you
   * read, in whatever way and however late. A reset before you listen does not end the process; see `destroyed`.
   * @throws SocksError (rejects) with `hop` and `target`; `ERR_SOCKS_INVALID_HOST` before any I/O; the signal's reason.
   */
  connect<Stream extends Duplex = Socket>(
    options: ConnectOptions & { readonly socket?: Stream | undefined },
  ): Promise<Connection<Stream>>
  /**
   * Of a client that was made for one command: carries it out, over a stream that leads to the proxy if one is given. Tells
   * `'established'` or `'error'`, and of BIND before that `'bound'`.
   * @throws TypeError for what is no stream.
   */
  connect(existingSocket?: Duplex): void
  /** The first once more: of the last one TypeScript tells when none fits, and `ReturnType` and `Parameters` see no other. */
  connect(options: ConnectOptions & { readonly socket?: Socket | undefined }): Promise<Connection>
  connect(given?: ConnectOptions | Duplex): Promise<Connection<Duplex>> | undefined {
    // A stream or nothing in the one case, options in the other: the overloads say so.
    if (this.#request === undefined) return this.#own('connect').connect(given as ConnectOptions)
    if (given !== undefined && given !== null && !isByteStream(given)) {
      throw invalidArgument('connect() of a client for one command takes a Duplex of bytes, or nothing')
    }
    void this.#run({ ...this.#request, socket: given ?? this.#request.socket })
    return undefined
  }

  /**
   * Asks the proxy (of a chain the last one) to listen for one peer. Resolves to a listener that tells where; a peer that
   * comes early waits there, with what it says.
   * @throws SocksError (rejects) as {@link connect}.
   */
  async bind(options: BindRequestOptions = {}): Promise<BoundListener> {
    return this.#own('bind').bind(options)
  }

  /**
   * Asks the proxy for an address of a name (Tor's RESOLVE): an IP literal. Few other proxies know it.
   * @throws SocksError (rejects) as {@link connect}; `ERR_SOCKS_INVALID_HOST` for an answer that is none.
   */
  async resolve(options: LookUpOptions): Promise<string> {
    return this.#own('resolve').resolve(options)
  }

  /** Asks the proxy for the name of an address (Tor's RESOLVE_PTR). `host` is an IP literal. @throws as {@link resolve}. */
  async resolvePtr(options: LookUpOptions): Promise<string> {
    return this.#own('resolvePtr').resolvePtr(options)
  }

  /**
   * Asks the proxy for a relay of datagrams. Resolves to something like a `dgram.Socket` that sends through it; it lives as
   * long as its connection to the proxy does.
   * @throws SocksError (rejects) `ERR_SOCKS_INVALID_PROXY` for a chain, which datagrams would leave at its last proxy
   * alone; else as {@link connect}.
   */
  async udpAssociate(options: UdpAssociateOptions = {}): Promise<UdpAssociation> {
    return this.#own('udpAssociate').udpAssociate(options)
  }

  /** For `createSocksServer({ dial: client.dialer() })`: every request goes out through this client's proxies. */
  dialer(): Dialer {
    return this.#own('dialer').dialer()
  }

  /** The proxies in the order in which they are passed, without credentials, to print. */
  get proxies(): readonly string[] {
    return this.#request?.chain.labels ?? this.#own('proxies').proxies
  }

  /** npm `socks`: what the client was made for, without user, password, handlers and streams; `undefined` of another one. */
  get socksClientOptions(): SocksConnectionOptions | undefined {
    const { options } = this.#request ?? {}
    return options === undefined || 'proxies' in options ? undefined : options
  }

  #own(method: string): Client {
    if (this.#client !== undefined) return this.#client
    throw new TypeError(`this client was made for one command: it has connect(), and no ${method}`)
  }

  /** Never rejects. What a listener throws is thrown where its own caller would see it. */
  async #run(request: CommandRequest): Promise<void> {
    try {
      const info = await runCommand(request, (bound) => process.nextTick(() => this.emit('bound', bound)))
      process.nextTick(() => this.emit('established', info))
    } catch (error) {
      process.nextTick(() => {
        // runCommand rejects with nothing else.
        if (this.listenerCount('error') > 0) this.emit('error', error as SocksClientEvents['error'][0])
      })
    }
  }
}

function isCommand(options: SocksClientOptions): options is SocksConnectionOptions {
  return options?.command !== undefined || options?.destination !== undefined
}

/** Calls back what a promise comes to. Who has a callback may forget the promise: it is no unhandled rejection. */
function called(
  attempt: () => Promise<SocksClientEstablishedEvent>,
  callback: SocksClientCallback | undefined,
): Promise<SocksClientEstablishedEvent> {
  const outcome = attempt()
  if (typeof callback === 'function') {
    // In a turn of its own: what a callback throws must not become a rejection.
    outcome.then(
      (info) => process.nextTick(callback, null, info),
      (error) => process.nextTick(callback, error),
    )
  }
  return outcome
}
