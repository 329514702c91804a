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
  /** Version of SOCKS to speak. Default 5; in 4 the username is the USERID, and there is no password. */
  readonly version?: 4 | 5 | undefined
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
export async function handshake(stream: Duplex, request: HandshakeRequest): Promise<HandshakeResult> {
  const { bound } = await negotiate(stream, request)
  return { bound }
}

/** What a proxy answered, and the session in which it did: of BIND there is another reply to come. */
export interface Negotiated extends HandshakeResult {
  readonly session: ClientSession
}

/** As {@link handshake}. */
export function negotiate(stream: Duplex, request: HandshakeRequest): Promise<Negotiated> {
  return new Promise((resolve, reject) => {
    const session = new ClientSession({ socks4: request.version === 4 })
    new Negotiation(stream, request, session, resolve, reject).start()
  })
}

/** Waits for the second reply of BIND, over a stream that is idle since the first. As {@link handshake} else. */
export function awaitSecondReply(stream: Duplex, session: ClientSession): Promise<Negotiated> {
  return new Promise((resolve, reject) => {
    new Negotiation(stream, undefined, session, resolve, reject).resume()
  })
}

class Negotiation implements HandshakeListener {
  readonly #session: ClientSession
  readonly #stream: Duplex
  readonly #request: HandshakeRequest | undefined
  readonly #resolve: (result: Negotiated) => void
  readonly #reject: (error: unknown) => void
  readonly #handshake: Handshake
  #settled = false

  constructor(
    stream: Duplex,
    request: HandshakeRequest | undefined,
    session: ClientSession,
    resolve: (result: Negotiated) => void,
    reject: (error: unknown) => void,
  ) {
    this.#stream = stream
    this.#request = request
    this.#session = session
    this.#resolve = resolve
    this.#reject = reject
    this.#handshake = new Handshake(stream, this)
  }

  start(): void {
    const { credentials, requireAuth, version } = this.#request ?? {}
    const methods = credentials === undefined ? [Method.noAuth] : [Method.noAuth, Method.userPass]
    this.#begin(() => {
      if (version === 4) this.#sendRequest()
      else {
        const offered = requireAuth ? [Method.userPass] : methods
        this.#say('method', this.#session.send({ type: 'greeting', methods: offered }))
      }
    })
  }

  /** Nothing to say: another reply is to come. */
  resume(): void {
    this.#begin(() => {})
  }

  onReadable(): void {
    this.#attempt(() => this.#advance())
  }

  onClose(error: Error | undefined): void {
    const message = 'the proxy closed the connection in the middle of the handshake'
    this.#fail(new SocksError('ERR_SOCKS_CONNECTION_CLOSED', message, { cause: error }))
  }

  #begin(say: () => void): void {
    // A stream that is closed already emits nothing more.
    if (this.#stream.destroyed) {
      this.onClose(this.#stream.errored ?? undefined)
      return
    }
    this.#attempt(() => {
      say()
      this.#advance()
    })
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
    const { username, password } = this.#request?.credentials ?? {
      username: new Uint8Array(),
      password: new Uint8Array(),
    }
    this.#say('status', this.#session.send({ type: 'credentials', username, password }))
  }

  #sendRequest(): void {
    if (this.#request === undefined) throw new TypeError('there is nothing to ask for')
    const { command = Command.connect, destination, version, credentials } = this.#request
    const userId = version === 4 ? credentials?.username : undefined
    this.#say('reply', this.#session.send({ type: 'request', command, destination, userId }))
  }

  #say(stage: HandshakeStage, bytes: Uint8Array): void {
    this.#request?.onStage?.(stage)
    this.#stream.write(bytes)
  }

  #succeed(bound: Address): void {
    this.#settled = true
    this.#handshake.unread(this.#session.takeRemaining())
    this.#handshake.release()
    // Not before the stream has gone idle, which Node does in the next tick.
    process.nextTick(this.#resolve, { bound, session: this.#session })
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
