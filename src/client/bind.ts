import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import { assertOptions, invalidArgument, outOfRange } from '../codec/arguments.js'
import { Command } from '../codec/constants.js'
import { type Destination, isUnspecified } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import { reset } from '../stream/reset.js'
import type { Chain, Way } from './chain.js'
import { awaitSecondReply } from './handshake.js'
import { remoteHost } from './near.js'
import { Operation, type OperationOptions } from './operation.js'

/** Whom to wait for. */
export interface BindRequestOptions {
  /** Where the peer will come from: a name, an IP literal, or 0.0.0.0 (the default) for anywhere. */
  readonly host?: string | undefined
  /** 0 to 65535; what it means is the proxy's business. Default 0. */
  readonly port?: number | undefined
  /** Ends the attempt to listen. Default: the client's timeout, and no signal. */
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number | undefined
}

/** How long to wait for the peer. */
export interface AcceptOptions {
  /** Aborting closes the listener and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds; 0, the default, leaves it to the proxy, which gives up by itself. */
  readonly timeoutMs?: number | undefined
}

/** A peer that has connected. */
export interface Accepted {
  /** Idle: nothing that the peer says is lost before you read. */
  readonly socket: Duplex
  /** Where it came from, unchecked. */
  readonly peer: Address
}

/** A listener at the proxy, for one peer. RFC 1928 section 4, BIND. */
export class BoundListener {
  /** Where the peer is to connect to; the proxy's own address where it told none. */
  readonly address: Address
  readonly #way: Way
  #isTaken = false
  #isWaiting = false
  #isClosed = false

  /** Use `SocksClient.bind`. */
  constructor(way: Way) {
    const { bound, socket } = way
    this.address = isUnspecified(bound.host) ? atProxy(bound, remoteHost(socket)) : bound
    this.#way = way
  }

  /**
   * Waits for the peer. Once: there is one.
   * @throws SocksError (rejects) what the proxy said, `ERR_SOCKS_TTL_EXPIRED` when nobody came, `ERR_SOCKS_TIMEOUT`,
   * `ERR_SOCKS_CONNECTION_CLOSED`; `ERR_SOCKS_ILLEGAL_MESSAGE` the second time; the signal's reason. The listener is closed.
   */
  async accept(options: AcceptOptions = {}): Promise<Accepted> {
    const { signal, timeoutMs = 0 } = checked(options)
    if (this.#isTaken) throw new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', 'a listener of BIND is for one peer')
    this.#isTaken = true
    this.#isWaiting = true
    try {
      return await this.#wait({ signal, timeoutMs })
    } catch (error) {
      // An abort that came before the call is one, too.
      reset(this.#way.socket)
      throw this.#isClosed ? new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the listener was closed') : error
    } finally {
      this.#isWaiting = false
    }
  }

  async #wait({ signal, timeoutMs }: OperationOptions): Promise<Accepted> {
    const { socket, session } = this.#way
    const operation = new Operation({ signal, timeoutMs }, () => {
      return new SocksError('ERR_SOCKS_TIMEOUT', `no peer connected within ${timeoutMs} ms`)
    })
    operation.own(socket)
    try {
      const { bound } = await operation.race(awaitSecondReply(socket, session))
      return { socket, peer: bound }
    } finally {
      operation.finish()
    }
  }

  /**
   * Gives up: the proxy stops listening, and an `accept` that waits rejects with `ERR_SOCKS_CONNECTION_CLOSED`. Harmless the
   * second time; once there is a peer the stream is the caller's.
   */
  close(): void {
    if (this.#isTaken && !this.#isWaiting) return
    this.#isTaken = true
    this.#isClosed = true
    // A FIN might be taken for a half-close.
    reset(this.#way.socket)
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }
}

/** Asks the last proxy of a chain to listen. */
export function bind(
  chain: Chain,
  destination: Destination,
  { signal, timeoutMs }: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
): Promise<BoundListener> {
  const request = { destination, signal, timeoutMs, socket: undefined, command: Command.bind }
  return chain.complete(request, async (way) => new BoundListener(way))
}

function atProxy({ port }: Address, host: string): Address {
  return { type: host.includes(':') ? 'ipv6' : 'ipv4', host, port }
}

function checked(options: AcceptOptions): AcceptOptions {
  assertOptions(options, ['signal', 'timeoutMs'])
  const { signal, timeoutMs = 0 } = options
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw invalidArgument('signal must be an AbortSignal')
  }
  if (!(timeoutMs >= 0 && timeoutMs <= 0x7fff_ffff)) throw outOfRange('timeoutMs must be milliseconds')
  return options
}
