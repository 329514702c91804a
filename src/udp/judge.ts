import { canonicalIP, classifyIP, type Destination, parseIP } from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'
import type { UdpTarget } from './mapping.js'
import type { AddressRegistry } from './socket.js'

/**
 * Judges one destination and resolves it: the address to send to, or `undefined` for "nowhere". `signal` aborts when
 * nobody waits for the answer any more. `current`, when an answer is being renewed, is the address in use: a resolver
 * that still names it should keep to it, because the far side knows its peers by theirs.
 */
export type Decide = (
  destination: Destination,
  signal: AbortSignal,
  current: UdpTarget | undefined,
) => UdpTarget | undefined | PromiseLike<UdpTarget | undefined>

/** What came of a question. `failed`: there was no answer, or none that makes sense. */
export type Verdict =
  | { readonly type: 'allowed'; readonly target: UdpTarget }
  | { readonly type: 'denied' }
  | { readonly type: 'failed'; readonly error: unknown }

/** Options of {@link Judge}. */
export interface JudgeOptions {
  readonly decide: Decide
  /** Targets that are refused whatever `decide` says. */
  readonly registry: AddressRegistry | undefined
  /** Milliseconds for one answer; 0 is no limit. */
  readonly timeoutMs: number
}

/** A question under way. */
export interface Question {
  /** Nobody waits for the answer any more: its signal aborts, and nothing is told. May be called again. */
  cancel(): void
}

// Look-ups share Node's four threads of work with everything else in the process: a client that sends to one name after
// another must not fill that queue.
const MAX_QUESTIONS = 64

const DENIED: Verdict = { type: 'denied' }

/** Asks `decide`, in a way that it cannot harm: it may throw, reject, answer nonsense, or never answer. */
export class Judge {
  readonly #options: JudgeOptions
  #pending = 0

  constructor(options: JudgeOptions) {
    this.#options = options
  }

  /** Whether no other question may be asked now. */
  get isFull(): boolean {
    return this.#pending >= MAX_QUESTIONS
  }

  /** Calls `onVerdict` once, later, unless it is cancelled. Not when it is full. */
  ask(destination: Destination, current: UdpTarget | undefined, onVerdict: (verdict: Verdict) => void): Question {
    const controller = new AbortController()
    let isCancelled = false
    let isPending = true
    const settle = (verdict: Verdict): void => {
      if (!isPending) return
      isPending = false
      this.#pending--
      deadline.clear()
      if (!isCancelled) onVerdict(verdict)
    }
    const deadline = new Deadline(this.#options.timeoutMs, () => {
      const error = new Error('no decision in time')
      settle({ type: 'failed', error })
      controller.abort(error)
    })
    this.#pending++
    // Not in this turn: what is asked may close whoever asks.
    Promise.resolve()
      .then(() => (isCancelled ? DENIED : this.#judge(destination, controller.signal, current)))
      .then(settle, (error) => settle({ type: 'failed', error }))
    return {
      // The question counts until it is answered: a look-up that nobody waits for is under way all the same.
      cancel: () => {
        isCancelled = true
        controller.abort(new Error('the mapping is gone'))
      },
    }
  }

  async #judge(destination: Destination, signal: AbortSignal, current: UdpTarget | undefined): Promise<Verdict> {
    // Known before anybody is asked.
    if (destination.type !== 'domain' && !isUnicast(destination.host)) return DENIED
    const answer: unknown = await this.#options.decide(destination, signal, current)
    if (answer === undefined) return DENIED
    const host: unknown = typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'host') : undefined
    const target = typeof host === 'string' ? canonicalIP(host) : undefined
    if (target === undefined) throw new TypeError('decide returned neither an IP address nor undefined')
    const isRefused = !isUnicast(target.host) || this.#options.registry?.has(target.host, destination.port) === true
    return isRefused ? DENIED : { type: 'allowed', target }
  }
}

/** Whether one host has that address: not a group, not a whole network, not "this host", to which systems send it. */
function isUnicast(host: string): boolean {
  const bytes = parseIP(host)
  return bytes !== undefined && !['multicast', 'broadcast', 'unspecified'].includes(classifyIP(bytes))
}
