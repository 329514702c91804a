import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import type { ClientEvent, ClientSession } from '../codec/client-session.js'
import { Command, Method } from '../codec/constants.js'
import { assertNever, SocksError } from '../codec/errors.js'
import { Handshake, type HandshakeListener } from '../stream/handover.js'
import { type ClientAuthenticated, MethodRun, wrapStream } from './auth-method.js'
import type { HandshakeRequest, HandshakeStage, Negotiated } from './handshake.js'

/** Who wants to know what becomes of a negotiation. */
export interface NegotiationOwner {
  resolve(result: Negotiated): void
  reject(error: unknown): void
  /** A stream that a method has put around the one that was given. */
  own(wrapped: Duplex): void
}

/** Drives one ClientSession over one stream. */
export class Negotiation implements HandshakeListener {
  readonly #session: ClientSession
  readonly #owner: NegotiationOwner
  readonly #given: Duplex
  #stream: Duplex
  #handshake: Handshake
  #request: HandshakeRequest | undefined
  // While it is there, all bytes are its own.
  #run: MethodRun | undefined
  #settled = false

  constructor(stream: Duplex, session: ClientSession, owner: NegotiationOwner) {
    this.#given = stream
    this.#stream = stream
    this.#session = session
    this.#owner = owner
    this.#handshake = new Handshake(stream, this)
  }

  start(request: HandshakeRequest): void {
    this.#request = request
    this.#begin(() => {
      if (request.optimistic) this.#sayAll(request)
      else this.#goOn(request)
    })
  }

  /** Nothing to say: another reply is to come. */
  resume(): void {
    this.#begin(() => {})
  }

  onReadable(): void {
    this.#attempt(() => {
      if (this.#run === undefined) this.#advance()
      else this.#run.onReadable()
    })
  }

  onClose(error: Error | undefined): void {
    this.#fail(closed(error))
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
    while (!this.#settled && this.#run === undefined) {
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
      case 'authStatus':
        if (this.#request !== undefined) this.#goOn(this.#request)
        return
      case 'reply':
        this.#succeed(event.bound)
        return
      case 'authData':
        throw new TypeError('the channel of the method takes all bytes')
      default:
        assertNever(event)
    }
  }

  /** Does what the session stands at: says the next message, or waits where all is said already. */
  #goOn(request: HandshakeRequest): void {
    const { state } = this.#session
    if (state === 'initial') this.#say('method', this.#greeting(request))
    else if (state === 'sending-credentials') this.#say('status', this.#credentials(request))
    else if (state === 'sending-request') this.#say('reply', this.#question(request))
    else if (state === 'authenticating') void this.#authenticate(request)
    else request.onStage?.(state === 'awaiting-status' ? 'status' : 'reply')
  }

  /** One write, and so one segment where it fits: what makes it worth its while. */
  #sayAll(request: HandshakeRequest): void {
    const said: Uint8Array[] = []
    const stage = this.#session.state === 'initial' ? 'method' : 'reply'
    if (this.#session.state === 'initial') said.push(this.#greeting(request))
    if (this.#session.state === 'sending-credentials') said.push(this.#credentials(request))
    said.push(this.#question(request))
    if (request.firstData !== undefined) said.push(request.firstData)
    this.#say(stage, Buffer.concat(said))
  }

  #greeting(request: HandshakeRequest): Uint8Array {
    return this.#session.send({ type: 'greeting', methods: methodsOf(request) })
  }

  #credentials({ credentials }: HandshakeRequest): Uint8Array {
    const { username, password } = credentials ?? { username: new Uint8Array(), password: new Uint8Array() }
    return this.#session.send({ type: 'credentials', username, password })
  }

  #question({ command = Command.connect, destination, version, credentials }: HandshakeRequest): Uint8Array {
    const userId = version === 4 ? credentials?.username : undefined
    return this.#session.send({ type: 'request', command, destination, userId })
  }

  #say(stage: HandshakeStage, bytes: Uint8Array): void {
    this.#request?.onStage?.(stage)
    this.#stream.write(bytes)
  }

  /** Lets a method of the application's own talk to the proxy, then goes on. Never rejects. */
  async #authenticate(request: HandshakeRequest): Promise<void> {
    const { auth, onStage } = request
    const run = new MethodRun(this.#handshake, (data) => {
      this.#stream.write(this.#session.send({ type: 'authData', data }))
    })
    this.#run = run
    try {
      // The only method that is neither of the two that RFC 1928 and RFC 1929 define.
      if (auth === undefined) throw new TypeError('no custom method was offered')
      onStage?.('auth')
      // In the turn in which they were read: what came behind the proxy's choice is the method's.
      this.#handshake.unread(this.#session.takeRemaining())
      const { wrap } = await run.authenticate(auth)
      if (this.#settled) return
      this.#session.send({ type: 'authEnd' })
      if (wrap !== undefined) await this.#wrap(wrap)
      if (this.#settled) return
      this.#run = undefined
      this.#goOn(request)
      this.#advance()
    } catch (error) {
      this.#fail(error)
    }
  }

  async #wrap(wrap: NonNullable<ClientAuthenticated['wrap']>): Promise<void> {
    const stream = this.#stream
    const onGone = (): void => this.onClose(stream.errored ?? undefined)
    this.#handshake.release()
    stream.on('close', onGone)
    try {
      // The stream is idle in the next tick.
      await new Promise<void>((resolve) => process.nextTick(resolve))
      // Nobody would tell the wrapper of an end that has passed.
      if (stream.readableEnded || stream.destroyed) throw closed(stream.errored ?? undefined)
      const wrapped = await wrapStream(wrap, stream, (made) => this.#isOurs(made))
      if (this.#settled) return
      // It would tell nothing more.
      if (wrapped.destroyed) throw closed(wrapped.errored ?? undefined)
      this.#handshake = new Handshake(wrapped, this)
    } finally {
      stream.off('close', onGone)
    }
  }

  #isOurs(wrapped: Duplex): boolean {
    if (this.#settled) return false
    this.#stream = wrapped
    this.#owner.own(wrapped)
    return true
  }

  #succeed(bound: Address): void {
    const { firstData, optimistic } = this.#request ?? {}
    if (firstData !== undefined && !optimistic) this.#stream.write(firstData)
    this.#settled = true
    this.#handshake.unread(this.#session.takeRemaining())
    this.#handshake.release()
    // Not before the stream has gone idle, which Node does in the next tick.
    const result: Negotiated = { bound, stream: this.#stream, session: this.#session }
    process.nextTick(() => this.#owner.resolve(result))
  }

  #fail(error: unknown): void {
    if (this.#settled) return
    this.#settled = true
    this.#handshake.release()
    for (const stream of [this.#stream, this.#given]) stream.destroy()
    this.#run?.end(error instanceof Error ? error : closed(undefined))
    this.#owner.reject(error)
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

/** What to offer: whatever we can do, and "no authentication" unless it is to be refused. */
function methodsOf({ credentials, requireAuth = false, optimistic = false, auth }: HandshakeRequest): number[] {
  const needsPassword = credentials !== undefined || (requireAuth && auth === undefined)
  // Said ahead, there is one conversation, and no choice for the proxy.
  const allowsNone = !requireAuth && !(optimistic && needsPassword)
  return [
    ...(allowsNone ? [Method.noAuth] : []),
    ...(needsPassword ? [Method.userPass] : []),
    ...(auth === undefined ? [] : [auth.code]),
  ]
}

function closed(cause: Error | undefined): SocksError {
  const message = 'the proxy closed the connection in the middle of the handshake'
  return new SocksError('ERR_SOCKS_CONNECTION_CLOSED', message, { cause })
}
