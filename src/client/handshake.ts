import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import { type ClientEvent, ClientSession } from '../codec/client-session.js'
import { Command, Method } from '../codec/constants.js'
import type { Destination } from '../codec/destination.js'
import { assertNever, SocksError } from '../codec/errors.js'
import type { Credentials } from '../codec/userpass.js'
import { Handshake, type HandshakeListener } from '../stream/handover.js'

/** What the handshake is waiting for. */
export type HandshakeStage = 'method' | 'status' | 'reply'

/** What to ask of a proxy. */
export interface HandshakeRequest {
  readonly destination: Pick<Destination, 'host' | 'port'>
  /** CMD byte. Default CONNECT. */
  readonly command?: number | undefined
  readonly credentials?: Credentials | undefined
  /** Offer "username and password" alone, so that the proxy cannot let everybody in. Default `false`. */
  readonly requireAuth?: boolean | undefined
  /** Told when the handshake begins to wait for something. */
  readonly onStage?: ((stage: HandshakeStage) => void) | undefined
}

/** What a proxy answered. */
export interface HandshakeResult {
  /** BND.ADDR and BND.PORT, as they stand on the wire. */
  readonly bound: Address
}

/**
 * Runs one SOCKS5 handshake over any stream. On success the stream is idle: nothing listens but a guard for `'error'`,
 * bytes behind the reply are unread, and every way of reading starts it. On failure it is destroyed.
 * @throws SocksError (rejects) for a refusal, wrong bytes, or a stream that ends.
 */
export function handshake(stream: Duplex, request: HandshakeRequest): Promise<HandshakeResult> {
  return new Promise((resolve, reject) => {
    new Negotiation(stream, request, resolve, reject).start()
  })
}

class Negotiation implements HandshakeListener {
  readonly #session = new ClientSession()
  readonly #stream: Duplex
  readonly #request: HandshakeRequest
  readonly #resolve: (result: HandshakeResult) => void
  readonly #reject: (error: unknown) => void
  readonly #handshake: Handshake
  #settled = false

  constructor(
    stream: Duplex,
    request: HandshakeRequest,
    resolve: (result: HandshakeResult) => void,
    reject: (error: unknown) => void,
  ) {
    this.#stream = stream
    this.#request = request
    this.#resolve = resolve
    this.#reject = reject
    this.#handshake = new Handshake(stream, this)
  }

  start(): void {
    const { credentials, requireAuth } = this.#request
    const methods = credentials === undefined ? [Method.noAuth] : [Method.noAuth, Method.userPass]
    // A stream that is closed already emits nothing more.
    if (this.#stream.destroyed) {
      this.onClose(this.#stream.errored ?? undefined)
      return
    }
    this.#attempt(() => {
      this.#say('method', this.#session.send({ type: 'greeting', methods: requireAuth ? [Method.userPass] : methods }))
      this.#advance()
    })
  }

  onReadable(): void {
    this.#attempt(() => this.#advance())
  }

  onClose(error: Error | undefined): void {
    const message = 'the proxy closed the connection in the middle of the handshake'
    this.#fail(new SocksError('ERR_SOCKS_CONNECTION_CLOSED', message, { cause: error }))
  }

  /** Reads all there is: every byte that the session takes may make it want more. */
  #advance(): void {
    while (!this.#settled) {
      const event = this.#session.nextEvent()
      if (event !== undefined) {
        this.#answer(event)
        continue
      }
      const chunk = this.#handshake.read()
      if (chunk !== undefined) this.#session.receive(chunk)
      else if (this.#handshake.ended) this.#session.receiveEnd()
      if (chunk === undefined && !this.#handshake.ended) return
    }
  }

  #answer(event: ClientEvent): void {
    switch (event.type) {
      case 'method':
        if (event.method === Method.userPass) this.#sendCredentials()
        else this.#sendRequest()
        return
      case 'authStatus':
        this.#sendRequest()
        return
      case 'reply':
        this.#succeed(event.bound)
        return
      case 'authData':
        // Only methods that are never offered lead here.
        throw new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', 'no custom method is in use')
      default:
        assertNever(event)
    }
  }

  #sendCredentials(): void {
    const { username, password } = this.#request.credentials ?? {
      username: new Uint8Array(),
      password: new Uint8Array(),
    }
    this.#say('status', this.#session.send({ type: 'credentials', username, password }))
  }

  #sendRequest(): void {
    const { command = Command.connect, destination } = this.#request
    this.#say('reply', this.#session.send({ type: 'request', command, destination }))
  }

  #say(stage: HandshakeStage, bytes: Uint8Array): void {
    this.#request.onStage?.(stage)
    this.#stream.write(bytes)
  }

  #succeed(bound: Address): void {
    this.#settled = true
    this.#handshake.unread(this.#session.takeRemaining())
    this.#handshake.release()
    // Not before the stream has gone idle, which Node does in the next tick.
    process.nextTick(this.#resolve, { bound })
  }

  #fail(error: unknown): void {
    if (this.#settled) return
    this.#settled = true
    this.#handshake.release()
    this.#stream.destroy()
    this.#reject(error)
  }

  /** Nothing may be thrown into the stream that calls: it would end the process. */
  #attempt(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.#fail(error)
    }
  }
}
