import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isSocksError, ReplyCode, replyError, SocksError } from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'
import { FlowingHandshake } from '../stream/flowing-handshake.js'
import { type Borrowed, Handshake, type HandshakeListener, RELEASED } from '../stream/handover.js'
import { endAndLinger } from '../stream/linger.js'
import { Relay, type RelayEnd } from '../stream/relay.js'
import { ReusedReader } from '../stream/reused-reader.js'
import type { Arrival, ConnectionSettings } from './arrival.js'
import { aborted, handshakeTimeout, hasEnded } from './endings.js'
import { type CloseReason, type EstablishedInfo, isFault, type Observer } from './events.js'
import { giveAway } from './give-away.js'
import type { ProxyHeaderReader } from './proxy-protocol.js'
import type { Counters, ServerSideSession, Session } from './session.js'

/**
 * How long a client that got its last answer may take to close, in milliseconds. RFC 1928 section 6 allows ten seconds
 * from detecting a failure; half of it leaves room for a slow timer.
 */
const LINGER_MS = 5_000

/**
 * Where a connection stands. `handshake`: bytes of the client are read and acted on. `judging`: a hook, a dial or a BIND
 * peer has the word, what the client sends waits in the stream. `associated`: it sends datagrams elsewhere. `closing`: the last answer is on its way.
 */
type Phase = 'handshake' | 'judging' | 'associated' | 'tunnel' | 'closing' | 'closed'

/** One client of a front door, from accept to the end of its tunnel. What it asks for, and how, is its subclass's. */
export abstract class ClientConnection implements HandshakeListener {
  readonly session: ServerSideSession
  protected readonly observer: Observer
  protected phase: Phase = 'handshake'
  protected sawBytes = false
  /** While a peer is waited for: the client's end means that nobody waits any more. */
  protected watchesEnd = false
  readonly #settings: ConnectionSettings
  readonly #isOwn: boolean
  readonly #deadline: Deadline
  #stream: Duplex
  #wrapped: Duplex | undefined
  #handshake: Borrowed
  #preface: ProxyHeaderReader | undefined
  #delay: Deadline | undefined
  #relay: Relay | undefined
  // Dialed by us, where both ends are sockets that only we have.
  #target: Duplex | undefined
  #association: { close(): void } | undefined
  #end: { readonly reason: CloseReason; readonly error?: Error | undefined } | undefined

  constructor({ stream, session, observer, preface, isOwn }: Arrival, settings: ConnectionSettings) {
    this.session = session
    this.observer = observer
    this.#stream = stream
    this.#settings = settings
    this.#isOwn = isOwn && settings.fastRelay
    this.#preface = preface
    this.#deadline = new Deadline(settings.handshakeTimeoutMs, () => this.refuse(handshakeTimeout()))
    this.#handshake = this.#borrow(stream, this.#isOwn)
    if (!this.#isOwn) keepAlive(stream)
  }

  /** Reads what has arrived before the connection was made. */
  start(): void {
    if (this.#preface === undefined) this.#identify()
    this.pump()
  }

  /** Whether a request was received, so that somebody waits for its result. */
  get isBusy(): boolean {
    return this.session.destination !== undefined && this.phase !== 'closing'
  }

  /** Turns TCP keep-alive on for sockets that have it off since they were made. Harmless the second time. */
  keepAlive(): void {
    if (this.#isOwn) keepAlive(this.#stream)
    if (this.#target !== undefined) keepAlive(this.#target)
  }

  /** Ends the connection at once. */
  destroy(reason: CloseReason, error?: Error): void {
    if (this.phase === 'closed') return
    this.#end ??= { reason, error }
    this.phase = 'closing'
    this.#deadline.clear()
    this.#delay?.clear()
    this.#handshake.release()
    this.session.gone.cancel(() => error ?? hasEnded())
    this.#relay?.destroy()
    this.#stream.destroy()
    this.#wrapped?.destroy()
    // A stream destroyed before has emitted its 'close' already.
    if (this.#stream.closed) this.#onStreamClose()
  }

  /** Reads once and acts. `false`: nothing more to do before further bytes or a hook's verdict. */
  protected abstract step(): boolean

  /** The bytes that a failed handshake still owes its client. */
  protected abstract answerTo(failure: SocksError): Uint8Array | undefined

  /** How a handshake that failed is to be called. */
  protected abstract reasonFor(failure: SocksError): CloseReason

  /** The stream that the client is spoken to on. */
  protected get stream(): Duplex {
    return this.#stream
  }

  protected get handshake(): Borrowed {
    return this.#handshake
  }

  /** Reads and acts until more bytes are needed or a hook has the word. */
  protected pump(): void {
    if (this.phase !== 'handshake') return
    try {
      while (
        this.phase === 'handshake' &&
        (this.#preface === undefined ? this.step() : this.#readPreface(this.#preface))
      );
    } catch (error) {
      this.refuse(error)
    }
  }

  /**
   * Lets a hook decide. What the client has sent meanwhile goes back into the stream, whose bounded buffer holds it: it
   * must be in this turn, later the end may have passed. Reading goes on there, so a reset is noticed.
   */
  protected judge(unread: Uint8Array, work: () => Promise<void>): void {
    this.phase = 'judging'
    this.#handshake.unread(unread)
    work().catch((error: unknown) => this.refuse(error))
  }

  /** The handshake is over: what follows has time limits of its own. */
  protected clearDeadline(): void {
    this.#deadline.clear()
  }

  /** What may read the client's target, where the fast ways of a relay are open to both. */
  protected readerFor(): ReusedReader | undefined {
    return this.#isOwn ? new ReusedReader() : undefined
  }

  /** Joins the client with its target. `reader`: from {@link readerFor}, if the target was dialed with one. */
  protected open(target: Duplex, info: EstablishedInfo, reader?: ReusedReader): void {
    this.phase = 'tunnel'
    this.#handshake.release()
    const early = this.#handshake.take()
    // It is memory that a tunnel has no use for.
    this.#handshake = RELEASED
    if (reader?.isUsed) this.#target = target
    const inside = { early, reader: reader?.isUsed ? reader : undefined, onEnd: this.#onRelayEnd }
    this.#relay = new Relay(this.#stream, target, this.#settings, inside)
    this.session.countBy(this.#relay)
    this.observer.established(info)
  }

  /** Keeps the connection for its end alone, which is that of `association`. What is said on it means nothing. */
  protected associate(association: { close(): void } & Counters, info: EstablishedInfo): void {
    this.phase = 'associated'
    this.#handshake.release()
    this.#association = association
    this.session.countBy(association)
    const stream = this.#stream
    stream.on('error', (error) => this.destroy('reset', error))
    stream.on('end', () => this.destroy('end'))
    stream.on('data', () => {})
    stream.resume()
    this.observer.established(info)
  }

  /** Ends well with a last answer. */
  protected finish(answer: Uint8Array): void {
    this.#close('end', undefined)
    endAndLinger(this.#stream, answer, LINGER_MS)
  }

  /** Ends a handshake that failed, with the one answer that is owed. `delayMs`: how long the client waits for it. */
  protected refuse(error: unknown, delayMs = 0): void {
    if (this.phase !== 'handshake' && this.phase !== 'judging') return
    const failure = isSocksError(error)
      ? error
      : replyError(ReplyCode.generalFailure, 'internal error', { cause: error })
    const reason = this.reasonFor(failure)
    const answer = this.answerTo(failure)
    this.#close(reason, failure)
    if (answer === undefined) this.#stream.destroy()
    else if (delayMs > 0) this.#delay = new Deadline(delayMs, () => endAndLinger(this.#stream, answer, LINGER_MS))
    else endAndLinger(this.#stream, answer, LINGER_MS)
    this.observer.refused(failure)
  }

  /** Everything from here on goes through `wrapped`, which was put around the stream. */
  protected replaceStream(wrapped: Duplex): void {
    const inner = this.#stream
    this.#wrapped = inner
    this.#handshake.release()
    inner.off('close', this.#onStreamClose)
    inner.on('close', () => {
      // After both ends were sent and read, the wrapper may still hold what nobody has taken from it.
      if (!(inner.readableEnded && inner.writableFinished)) wrapped.destroy()
    })
    this.#stream = wrapped
    this.#handshake = this.#borrow(wrapped, false)
    // Some wrappers do not close what they are put around.
    wrapped.on('close', () => inner.destroy())
  }

  /** Gives the socket away as it came: idle, every byte unread. */
  protected handOver(unread: Uint8Array, take: (stream: Duplex, session: Session) => unknown): void {
    const stream = this.#stream
    this.#handshake.unread(unread)
    this.#handshake.release()
    stream.off('close', this.#onStreamClose)
    this.#deadline.clear()
    this.phase = 'closed'
    this.observer.closed('fallback', undefined)
    giveAway(stream, this.session, take, (error) => this.observer.refused(error))
  }

  #borrow(stream: Duplex, mayFlow: boolean): Borrowed {
    stream.allowHalfOpen = true
    const handshake = mayFlow ? new FlowingHandshake(stream, this) : new Handshake(stream, this)
    // After the handshake's own listener, which knows better why.
    stream.on('close', this.#onStreamClose)
    return handshake
  }

  /** @internal */
  onReadable(): void {
    if (this.phase === 'handshake') this.pump()
    else if (this.watchesEnd && !this.#handshake.hasBytes) {
      // Only a read tells that the end has come.
      this.#handshake.read()
      if (this.#handshake.ended) this.destroy('aborted', aborted(undefined))
    }
  }

  /** Takes the header that a proxy in front has put before the client's own bytes. */
  #readPreface(preface: ProxyHeaderReader): boolean {
    const chunk = this.#handshake.read()
    if (chunk === undefined) {
      if (!this.#handshake.ended) return false
      if (this.sawBytes)
        throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the peer left in the middle of its header')
      this.destroy('empty')
      return false
    }
    this.sawBytes = true
    const read = preface.push(chunk)
    if (read === undefined) return true
    this.#preface = undefined
    if (read.origin !== undefined) this.session.comeFrom(read.origin)
    this.#handshake.unread(read.rest)
    // The client itself has said nothing yet: a header and no more is a health check, and what follows is its first byte.
    this.sawBytes = false
    this.#identify()
    return true
  }

  #identify(): void {
    const limit = this.observer.identified()
    if (limit) this.destroy('limit', limit)
  }

  #close(reason: CloseReason, error: SocksError | undefined): void {
    this.phase = 'closing'
    this.#end = { reason, error }
    this.#deadline.clear()
    this.#handshake.release()
    this.session.gone.cancel(() => error ?? hasEnded())
  }

  readonly #onRelayEnd = ({ reason, error }: RelayEnd): void => {
    if (reason !== 'destroyed') this.destroy(reason, error)
  }

  /** @internal The stream failed or was destroyed before there was a tunnel. */
  onClose(error: Error | undefined): void {
    // A wrapper tells what is wrong with the client's bytes, or with its own hooks.
    if (isSocksError(error) && isFault(error)) this.refuse(error)
    else this.destroy(this.sawBytes ? 'aborted' : 'empty', this.sawBytes ? aborted(error) : undefined)
  }

  readonly #onStreamClose = (): void => {
    if (this.phase === 'tunnel' || this.phase === 'closed') return
    this.phase = 'closed'
    this.#deadline.clear()
    this.#delay?.clear()
    this.#association?.close()
    this.#end ??= { reason: 'aborted', error: aborted(this.#stream.errored ?? undefined) }
    const { reason, error } = this.#end
    this.session.gone.cancel(() => error ?? hasEnded())
    this.observer.closed(reason, error)
  }
}

function keepAlive(stream: Duplex): void {
  if (stream instanceof Socket) stream.setKeepAlive(true)
}
