import type { Decoded } from './decoded.js'
import { isSocksError, SocksError } from './errors.js'
import { Inbox } from './inbox.js'

/** Options that both sessions take. */
export interface SessionOptions {
  /** Bytes that may wait unread before a further chunk is refused. Default 65,536. */
  readonly receiveLimit?: number | undefined
}

/** Where a transition leads: a state, or a function where the value of the message decides. */
export type Step<State> = State | ((value: number, command: number) => State)

/** state -> event (of the peer) or message (of ours) -> next state. */
export type TransitionTable<State extends string> = Readonly<Record<State, Readonly<Record<string, Step<State>>>>>

/** An event or a message, and the number in it that may decide a transition. */
interface Trigger {
  readonly type: string
  readonly method?: number
  /** Of a greeting: the first one counts. */
  readonly methods?: readonly number[]
  readonly status?: number
  readonly code?: number
  readonly command?: number
}

/**
 * What both halves of a handshake share: a bounded inbox, a table of transitions, failure for good.
 * Bytes go in through `receive`, events come out of `nextEvent` until it returns `undefined`, `send` makes the answers.
 */
export abstract class Session<State extends string, Event extends Trigger, Message extends Trigger> {
  readonly #transitions: TransitionTable<State | 'failed'>
  readonly #inbox: Inbox
  #state: State | 'failed'
  #command = 0
  #ended = false
  #failure: SocksError | undefined

  protected constructor(
    transitions: TransitionTable<State | 'failed'>,
    initial: State,
    { receiveLimit = 65_536 }: SessionOptions,
  ) {
    this.#transitions = transitions
    this.#state = initial
    this.#inbox = new Inbox(receiveLimit)
  }

  /** Where the handshake stands: whose turn it is, and with what. */
  get state(): State | 'failed' {
    return this.#state
  }

  /** Whether {@link nextEvent} is waiting for bytes of the peer; `false` while it is this side's turn, or all is over. */
  get wantsBytes(): boolean {
    return this.#state.startsWith('awaiting-') || this.#state === 'authenticating'
  }

  /**
   * Stores bytes of the peer. Nothing is read before {@link nextEvent} is called; after a failure they are dropped.
   * @throws SocksError `ERR_SOCKS_RECEIVE_OVERFLOW`.
   */
  receive(chunk: Uint8Array): void {
    if (this.#state !== 'failed') this.#inbox.push(chunk)
  }

  /** The peer will send no more (FIN). It may still read. */
  receiveEnd(): void {
    this.#ended = true
  }

  /**
   * The next thing the peer has said, or `undefined` when it is not the peer's turn or more bytes are needed.
   * @throws SocksError for bytes that can never be right, and on a client for a refusal. The session is then `failed`
   * for good (every further call throws the same error); `error.response` holds what to send before closing, if anything.
   */
  nextEvent(): Event | undefined {
    if (this.#failure !== undefined) throw this.#failure
    if (!this.wantsBytes) return undefined
    try {
      const event = this.read() ?? (this.#ended ? this.readEnd(this.#inbox.length) : undefined)
      if (event !== undefined) this.#follow(event)
      return event
    } catch (error) {
      // Anything but a SocksError is a bug of this library; it must not look like the peer's fault.
      if (!isSocksError(error)) throw error
      this.#failure = this.answered(error)
      this.#state = 'failed'
      throw this.#failure
    }
  }

  /**
   * The bytes of a message, after checking that it may be said now.
   * @throws SocksError `ERR_SOCKS_ILLEGAL_MESSAGE` when it is not this message's turn, `ERR_SOCKS_INVALID_HOST`;
   * TypeError or RangeError for values no message can hold. The session stays as it was.
   */
  send(message: Message): Uint8Array {
    const { type } = message
    if (!Object.hasOwn(this.#transitions[this.#state], type)) {
      throw new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', `cannot send '${type}' in state '${this.#state}'`)
    }
    const bytes = this.encode(message)
    this.#follow(message)
    return bytes
  }

  /** Takes the bytes received and not read. Once open they belong to the tunnel. */
  takeRemaining(): Uint8Array {
    return this.#inbox.take()
  }

  /** Reads the event that the state waits for. */
  protected abstract read(): Event | undefined

  /** The bytes of a message whose turn it is, checked. */
  protected abstract encode(message: Message): Uint8Array

  /** What the end of the stream means where an event was waited for; `waiting` bytes of it are here. */
  protected abstract readEnd(waiting: number): Event | undefined

  /** The error as it is thrown, with the response that the peer is owed. */
  protected answered(error: SocksError): SocksError {
    return error
  }

  /** Takes one message off the inbox. */
  protected decode<T>(decoder: (bytes: Uint8Array) => Decoded<T> | undefined): T | undefined {
    const decoded = decoder(this.#inbox.peek())
    if (decoded === undefined) return undefined
    this.#inbox.consume(decoded.bytesRead)
    return decoded.value
  }

  /** Takes all bytes for a custom method; `undefined` when there are none. */
  protected takeAuthData(): { type: 'authData'; data: Uint8Array } | undefined {
    return this.#inbox.length === 0 ? undefined : { type: 'authData', data: this.#inbox.take() }
  }

  /** Gives back what a custom method did not use. */
  protected giveBack(unread: Uint8Array | undefined): void {
    if (unread !== undefined) this.#inbox.unshift(unread)
  }

  /** The byte at `index` of what waits, without taking it. */
  protected peekByte(index: number): number | undefined {
    return this.#inbox.peek()[index]
  }

  #follow(trigger: Trigger): void {
    const step = this.#transitions[this.#state][trigger.type]
    if (step === undefined) throw new TypeError(`no way on from '${this.#state}' by '${trigger.type}'`)
    if (trigger.command !== undefined) this.#command = trigger.command
    const value = trigger.method ?? trigger.methods?.[0] ?? trigger.status ?? trigger.code ?? 0
    this.#state = typeof step === 'function' ? step(value, this.#command) : step
  }
}
