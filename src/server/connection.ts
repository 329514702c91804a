import type { Duplex } from 'node:stream'
import {
  AuthStatus,
  Command,
  type Credentials,
  credentialsToText,
  type Destination,
  isSocksError,
  Method,
  ReplyCode,
  replyError,
  type ServerEvent,
  ServerSession,
  SocksError,
  UNSPECIFIED_ADDRESS,
} from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'
import { Handshake } from '../stream/handover.js'
import { endAndLinger } from '../stream/linger.js'
import { type Relay, type RelayEnd, relay } from '../stream/relay.js'
import type { AuthMethod } from './auth.js'
import type { CloseReason, Observer, RequestInfo } from './events.js'
import { hookError, untilAborted } from './operation.js'
import type { ServerSettings } from './options.js'
import type { OutboundConnection } from './outbound.js'
import { replyCodeOf } from './reply-code.js'
import type { Identity, ServerSideSession } from './session.js'

/**
 * How long a client that got its last answer may take to close, in milliseconds. RFC 1928 section 6 allows ten seconds
 * from detecting a failure; half of it leaves room for a slow timer.
 */
const LINGER_MS = 5_000

/** Drives one ServerSession over one stream, from the greeting to the end of the tunnel. */
export class Connection {
  readonly session: ServerSideSession
  readonly #stream: Duplex
  readonly #settings: ServerSettings
  readonly #observer: Observer
  readonly #protocol: ServerSession
  readonly #handshake: Handshake
  readonly #deadline: Deadline
  #phase: 'handshake' | 'judging' | 'tunnel' | 'closing' | 'closed' = 'handshake'
  #method: AuthMethod | undefined
  #relay: Relay | undefined
  #sawBytes = false
  #sawEnd = false
  #end: { readonly reason: CloseReason; readonly error?: Error | undefined } | undefined

  constructor(stream: Duplex, session: ServerSideSession, settings: ServerSettings, observer: Observer) {
    this.session = session
    this.#stream = stream
    this.#settings = settings
    this.#observer = observer
    this.#protocol = new ServerSession(settings.protocol)
    stream.allowHalfOpen = true
    this.#deadline = new Deadline(settings.handshakeTimeoutMs, () => this.#refuse(handshakeTimeout()))
    this.#handshake = new Handshake(stream, {
      onReadable: () => this.#pump(),
      onClose: (error) => this.#onClientGone(error),
    })
    // After the handshake's own listener, which knows better why.
    stream.on('close', () => this.#onStreamClose())
  }

  /** Reads what has arrived before the connection was made. */
  start(): void {
    this.#pump()
  }

  /** Whether a request was received, so that somebody waits for its result. */
  get isBusy(): boolean {
    return this.session.destination !== undefined && this.#phase !== 'closing'
  }

  /** Ends the connection at once. */
  destroy(reason: CloseReason, error?: Error): void {
    if (this.#phase === 'closed') return
    this.#end ??= { reason, error }
    this.#phase = 'closing'
    this.#deadline.clear()
    this.#handshake.release()
    this.session.abort(error ?? new SocksError('ERR_SOCKS_ABORTED', 'the connection was ended'))
    this.#relay?.destroy()
    this.#stream.destroy()
    // A stream destroyed before has emitted its 'close' already.
    if (this.#stream.closed) this.#onStreamClose()
  }

  /** Reads and acts until more bytes are needed or a hook has the word. */
  #pump(): void {
    if (this.#phase !== 'handshake') return
    try {
      while (this.#phase === 'handshake' && this.#step());
    } catch (error) {
      this.#refuse(error)
    }
  }

  #step(): boolean {
    const event = this.#protocol.nextEvent()
    if (event !== undefined) {
      this.#handle(event)
      return true
    }
    const chunk = this.#handshake.read()
    if (chunk !== undefined) {
      this.#sawBytes = true
      this.#protocol.receive(chunk)
      return true
    }
    if (!this.#handshake.ended || this.#sawEnd) return false
    this.#sawEnd = true
    this.#protocol.receiveEnd()
    return true
  }

  #handle(event: ServerEvent): void {
    switch (event.type) {
      case 'greeting':
        this.#chooseMethod(event.methods)
        return
      case 'credentials':
        this.#judge(() => this.#verify(event.credentials))
        return
      case 'request':
        this.#judge(() => this.#connect(event.command, event.destination))
        return
      case 'end':
        this.destroy('empty')
        return
      case 'authData':
        // Reached only by methods that the server cannot be configured with.
        throw new TypeError('no custom method was chosen')
    }
  }

  #chooseMethod(offered: readonly number[]): void {
    this.#method = this.#settings.auth.find(({ code }) => offered.includes(code))
    if (this.#method === undefined) {
      throw new SocksError('ERR_SOCKS_NO_ACCEPTABLE_METHOD', 'the client offers no method that this server accepts')
    }
    if (this.#method.type === 'no-auth') this.session.identity = Object.freeze({})
    this.#stream.write(this.#protocol.send({ type: 'method', method: this.#method.code }))
  }

  /**
   * Lets a hook decide. What the client has sent meanwhile goes back into the stream, whose bounded buffer holds it: it
   * must be in this turn, later the end may have passed. Reading goes on there, so a reset is noticed.
   */
  #judge(work: () => Promise<void>): void {
    this.#phase = 'judging'
    this.#handshake.unread(this.#protocol.takeRemaining())
    work().catch((error: unknown) => this.#refuse(error))
  }

  async #verify(credentials: Credentials): Promise<void> {
    this.session.keepCredentials(credentials)
    // Only with lenientAuthMessage: nobody asked for them.
    const identity = this.#method?.type === 'user-pass' ? await this.#identify(credentials) : Object.freeze({})
    if (this.#phase !== 'judging') return
    this.session.identity = identity
    this.#stream.write(this.#protocol.send({ type: 'authStatus', status: AuthStatus.success }))
    this.#phase = 'handshake'
    this.#pump()
  }

  async #identify(credentials: Credentials): Promise<Identity> {
    const text = credentialsToText(credentials)
    if (text === undefined || this.#method?.type !== 'user-pass') throw authFailed('the credentials are not UTF-8')
    const { verify } = this.#method
    const { signal } = this.session
    let verdict: unknown
    try {
      verdict = await untilAborted(signal, () => verify(text.username, text.password, this.session))
    } catch (error) {
      throw signal.aborted ? error : hookError('auth', error, ReplyCode.generalFailure)
    }
    if (verdict === true) return Object.freeze({ username: text.username })
    if (isIdentity(verdict)) return verdict
    throw authFailed('the verifier denied the credentials')
  }

  async #connect(command: number, destination: Destination): Promise<void> {
    this.#deadline.clear()
    const { identity, clientAddress, signal } = this.session
    // The session and its transition table make this impossible; it is checked where it matters all the same.
    if (identity === undefined) throw replyError(ReplyCode.notAllowed, 'not authenticated')
    this.session.destination = destination
    if (command !== Command.connect)
      throw replyError(ReplyCode.commandNotSupported, `command ${command} is not supported`)
    const request: RequestInfo = { session: this.session, command: 'connect', identity, destination }
    this.#observer.request(request)
    const { host, port } = destination
    const way = await this.#settings.outbound.connect({
      host,
      port,
      clientAddress,
      identity,
      session: this.session,
      signal,
    })
    if (this.#phase === 'judging') this.#open(way, request)
    else way.stream.destroy()
  }

  #open({ stream, bound }: OutboundConnection, request: RequestInfo): void {
    const told = this.#settings.hideBoundAddress ? UNSPECIFIED_ADDRESS : bound
    // One write for the whole reply, before any byte of the target: clients read the first segment as a whole.
    this.#stream.write(this.#protocol.send({ type: 'reply', code: ReplyCode.succeeded, bound: told }))
    this.#phase = 'tunnel'
    this.#handshake.release()
    this.#relay = relay(this.#stream, stream, { drainTimeoutMs: this.#settings.drainTimeoutMs })
    this.session.countBy(this.#relay)
    void this.#relay.closed.then((end) => this.#onRelayEnd(end))
    this.#observer.established({ ...request, bound })
  }

  #onRelayEnd({ reason, error }: RelayEnd): void {
    if (reason !== 'destroyed') this.destroy(reason, error)
  }

  /** The stream failed or was destroyed before there was a tunnel. */
  #onClientGone(error: Error | undefined): void {
    this.destroy(this.#sawBytes ? 'aborted' : 'empty', this.#sawBytes ? aborted(error) : undefined)
  }

  /** Ends a handshake that failed, with the one answer that the state of the protocol calls for. */
  #refuse(error: unknown): void {
    if (this.#phase === 'closing' || this.#phase === 'closed' || this.#phase === 'tunnel') return
    const failure = isSocksError(error)
      ? error
      : replyError(ReplyCode.generalFailure, 'internal error', { cause: error })
    const reason = this.#reasonFor(failure)
    const answer = this.#answer(failure)
    this.#phase = 'closing'
    this.#end = { reason, error: failure }
    this.#deadline.clear()
    this.#handshake.release()
    this.session.abort(failure)
    if (answer === undefined) this.#stream.destroy()
    else endAndLinger(this.#stream, answer, LINGER_MS)
    this.#observer.refused(failure)
  }

  /** By where the handshake stands, not by the error alone: an upstream's refusal of our login is none of the client's. */
  #reasonFor({ code }: SocksError): CloseReason {
    if (code === 'ERR_SOCKS_HANDSHAKE_TIMEOUT') return 'handshake-timeout'
    const { state } = this.#protocol
    return state === 'choosing-method' || state === 'judging-credentials' ? 'auth-failed' : 'refused'
  }

  #answer(error: SocksError): Uint8Array | undefined {
    if (error.code === 'ERR_SOCKS_HANDSHAKE_TIMEOUT' || error.code === 'ERR_SOCKS_ABORTED') return undefined
    switch (this.#protocol.state) {
      case 'choosing-method':
        return this.#protocol.send({ type: 'method', method: Method.noAcceptable })
      case 'judging-credentials':
        return this.#protocol.send({ type: 'authStatus', status: AuthStatus.failure })
      case 'judging-request':
        return this.#protocol.send({ type: 'reply', code: replyCodeOf(error) })
      default:
        return error.response
    }
  }

  #onStreamClose(): void {
    if (this.#phase === 'tunnel' || this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#deadline.clear()
    this.session.abort(this.#end?.error ?? new SocksError('ERR_SOCKS_ABORTED', 'the connection has ended'))
    this.#observer.closed(this.#end?.reason ?? 'aborted', this.#end?.error)
  }
}

/** Objects that some code returns for "no". */
const NO_IDENTITY = [Error, Boolean, Number, String, Date] as const

function isIdentity(verdict: unknown): verdict is Identity {
  return (
    typeof verdict === 'object' &&
    verdict !== null &&
    !Array.isArray(verdict) &&
    !NO_IDENTITY.some((type) => verdict instanceof type)
  )
}

function authFailed(message: string): SocksError {
  return new SocksError('ERR_SOCKS_AUTH_FAILED', message, { status: AuthStatus.failure })
}

function aborted(cause: Error | undefined): SocksError {
  return new SocksError('ERR_SOCKS_ABORTED', 'the client went away during the handshake', { cause })
}

function handshakeTimeout(): SocksError {
  return new SocksError('ERR_SOCKS_HANDSHAKE_TIMEOUT', 'no complete request in time')
}
