import type { Destination } from '../codec/index.js'
import { type Decide, Judge, type Question, type Verdict } from './judge.js'
import { type Mapping, MappingTable, type UdpNat, type UdpTarget } from './mapping.js'
import type { AddressRegistry } from './socket.js'
import { Sweeper } from './sweeper.js'

/** Why something that was to be sent to a destination is dropped. */
export type RouteDrop = 'denied' | 'failed' | 'backlog'

/** Options of {@link Routes}. None of the functions but `decide` may throw. */
export interface RoutesOptions<Job> {
  readonly decide: Decide
  readonly registry?: AddressRegistry | undefined
  readonly nat: UdpNat
  readonly maxMappings: number
  readonly idleTimeoutMs: number
  /** Milliseconds that an answer of `decide` holds; 0 is for as long as the mapping. */
  readonly decisionTtlMs: number
  readonly decisionTimeoutMs: number
  /** Bytes that a waiting job holds. */
  readonly sizeOf: (job: Job) => number
  readonly transmit: (job: Job, mapping: Mapping, target: UdpTarget) => void
  readonly onDrop: (job: Job, reason: RouteDrop, error?: unknown) => void
  readonly onRemoved: (mapping: Mapping) => void
  readonly onFamilyUnused: (type: UdpTarget['type']) => void
  /** `decide` failed. */
  readonly onFailure: (error: unknown) => void
}

interface Waiting<Job> {
  readonly question: Question
  readonly jobs: Job[]
}

// What one destination may keep waiting for its answer: a burst, as programs send before they hear anything.
const MAX_WAITING_JOBS = 64
// What all destinations of one client may: sixteen datagrams of the largest size.
const MAX_WAITING_BYTES = 1_048_576
// A failure is not a verdict: a resolver that was down for a moment must not count for a minute.
const FAILURE_TTL_MS = 5_000

/**
 * Finds out, once for each destination, whether and where to send. What comes meanwhile waits, in order; once there is an
 * answer it holds for a while, and is asked for again without holding anything up.
 */
export class Routes<Job> {
  readonly table: MappingTable
  readonly #options: RoutesOptions<Job>
  readonly #judge: Judge
  readonly #waiting = new Map<Mapping, Waiting<Job>>()
  readonly #sweeper: Sweeper
  #waitingBytes = 0

  constructor(options: RoutesOptions<Job>) {
    const { decide, registry, decisionTimeoutMs: timeoutMs, onFamilyUnused } = options
    this.#options = options
    this.#judge = new Judge({ decide, registry, timeoutMs })
    this.table = new MappingTable({ ...options, onFamilyUnused, onRemoved: (mapping) => this.#onRemoved(mapping) })
    this.#sweeper = new Sweeper((now) => {
      this.table.expire(now)
      return this.table.nextExpiryAt
    })
  }

  /**
   * Sends a job on its way: now, once its destination has been judged, or never. `undefined`: the destination is new, and
   * nobody can be asked about it now. It pushes no other out.
   */
  route(destination: Destination, job: Job, now: number): Mapping | undefined {
    const known = this.table.find(destination, now)
    if (known === undefined && this.#judge.isFull) {
      this.#options.onDrop(job, 'backlog')
      return undefined
    }
    const mapping = known ?? this.table.add(destination, now)
    if (!this.#sweeper.isArmed) this.#sweeper.arm(this.table.nextExpiryAt)
    this.#send(mapping, job, now)
    return mapping
  }

  /** As `route`, to a destination that has its mapping. `false`: it has left the table. */
  reroute(mapping: Mapping, job: Job, now: number): boolean {
    if (!this.table.use(mapping, now)) return false
    this.#send(mapping, job, now)
    return true
  }

  /** Forgets every destination and drops what waits. */
  close(): void {
    this.#sweeper.stop()
    this.table.clear()
  }

  #send(mapping: Mapping, job: Job, now: number): void {
    if (now < mapping.renewAt) this.#pass(mapping, job)
    // An answer that cannot be asked for again does not hold any longer, or many questions would keep an old one alive.
    else if (this.#judge.isFull) this.#options.onDrop(job, 'backlog')
    else {
      this.#ask(mapping)
      this.#pass(mapping, job)
    }
  }

  #pass(mapping: Mapping, job: Job): void {
    const { target } = mapping
    if (target !== undefined) {
      this.#options.transmit(job, mapping, target)
      return
    }
    const waiting = this.#waiting.get(mapping)
    if (waiting === undefined) this.#options.onDrop(job, mapping.refusal)
    else this.#wait(waiting, job)
  }

  #wait({ jobs }: Waiting<Job>, job: Job): void {
    const bytes = this.#waitingBytes + this.#options.sizeOf(job)
    if (jobs.length >= MAX_WAITING_JOBS || bytes > MAX_WAITING_BYTES) {
      this.#options.onDrop(job, 'backlog')
      return
    }
    this.#waitingBytes = bytes
    jobs.push(job)
  }

  /** Until there is an answer, nothing changes. */
  #ask(mapping: Mapping): void {
    const { destination, target } = mapping
    const question = this.#judge.ask(destination, target, (verdict) => this.#onVerdict(mapping, verdict))
    mapping.renewAt = Number.POSITIVE_INFINITY
    this.#waiting.set(mapping, { question, jobs: [] })
  }

  #onVerdict(mapping: Mapping, verdict: Verdict): void {
    const { decisionTtlMs } = this.#options
    const ttlMs = decisionTtlMs === 0 ? Number.POSITIVE_INFINITY : decisionTtlMs
    const jobs = this.#stopWaiting(mapping)?.jobs ?? []
    if (verdict.type === 'allowed') {
      this.table.aim(mapping, verdict.target)
      mapping.renewAt = performance.now() + ttlMs
      for (const job of jobs) this.#pass(mapping, job)
      return
    }
    mapping.refusal = verdict.type
    mapping.renewAt = performance.now() + (verdict.type === 'failed' ? Math.min(ttlMs, FAILURE_TTL_MS) : ttlMs)
    this.table.aim(mapping, undefined)
    const error = verdict.type === 'failed' ? verdict.error : undefined
    if (verdict.type === 'failed') this.#options.onFailure(error)
    for (const job of jobs) this.#options.onDrop(job, verdict.type, error)
  }

  #onRemoved(mapping: Mapping): void {
    this.#options.onRemoved(mapping)
    const waiting = this.#stopWaiting(mapping)
    if (waiting === undefined) return
    waiting.question.cancel()
    for (const job of waiting.jobs) this.#options.onDrop(job, 'backlog')
  }

  #stopWaiting(mapping: Mapping): Waiting<Job> | undefined {
    const waiting = this.#waiting.get(mapping)
    this.#waiting.delete(mapping)
    for (const job of waiting?.jobs ?? []) this.#waitingBytes -= this.#options.sizeOf(job)
    return waiting
  }
}
