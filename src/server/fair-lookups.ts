import type { LookupAddress } from 'node:dns'
import type { Cancellation } from './cancellation.js'
import { Tally } from './tally.js'

/** Looks one name up. Rejects with the resolver's error. */
export type LookUpName = (host: string) => Promise<LookupAddress[]>

/** A client's wait for a name. */
interface Job {
  readonly host: string
  readonly resolve: (answer: Promise<LookupAddress[]>) => void
  readonly reject: (reason: unknown) => void
}

/**
 * A turnstile in front of the system's resolver. It works in a few threads that the whole process shares, and a look-up
 * cannot be called back: a client that asks for names whose servers are silent would keep everybody else's waiting. So
 * few are under way at a time, one client has half of them at the most, clients take turns, who has left is not served
 * any more, and one name is looked up once at a time.
 */
export class FairLookups {
  readonly #lookUp: LookUpName
  readonly #max: number
  readonly #maxPerClient: number
  readonly #underWay = new Map<string, Promise<LookupAddress[]>>()
  readonly #running = new Tally<string>()
  readonly #waiting = new Map<string, Job[]>()
  #count = 0

  /** `max`: look-ups at a time, as many as there are threads to do them. */
  constructor(lookUp: LookUpName, max: number) {
    this.#lookUp = lookUp
    this.#max = max
    this.#maxPerClient = Math.max(1, Math.floor(max / 2))
  }

  /** Looks a name up on behalf of a client, when it is its turn. Rejects with the resolver's error, or when it is called off. */
  lookUp(host: string, client: string, cancellation: Cancellation): Promise<LookupAddress[]> {
    return new Promise((resolve, reject) => {
      if (cancellation.isCancelled) {
        reject(cancellation.reason)
        return
      }
      const queue = this.#waiting.get(client) ?? []
      this.#waiting.set(client, queue)
      const job: Job = {
        host,
        resolve: (answer) => {
          cancellation.remove(onCancel)
          resolve(answer)
        },
        reject,
      }
      const onCancel = (): void => {
        const index = queue.indexOf(job)
        if (index >= 0) queue.splice(index, 1)
        if (queue.length === 0 && this.#waiting.get(client) === queue) this.#waiting.delete(client)
        reject(cancellation.reason)
      }
      cancellation.add(onCancel)
      queue.push(job)
      this.#serve()
    })
  }

  #serve(): void {
    for (const [client, queue] of [...this.#waiting]) {
      if (this.#count >= this.#max) return
      while (this.#mayServe(client, queue[0])) this.#begin(client, queue)
    }
  }

  #mayServe(client: string, job: Job | undefined): boolean {
    if (job === undefined) return false
    // It costs nothing to wait for what is under way.
    if (this.#underWay.has(job.host)) return true
    return this.#count < this.#max && this.#running.get(client) < this.#maxPerClient
  }

  #begin(client: string, queue: Job[]): void {
    const job = queue.shift()
    if (job === undefined) return
    // To the end of the line, or out of it.
    this.#waiting.delete(client)
    if (queue.length > 0) this.#waiting.set(client, queue)
    job.resolve(this.#underWay.get(job.host) ?? this.#start(client, job.host))
  }

  #start(client: string, host: string): Promise<LookupAddress[]> {
    this.#count++
    this.#running.add(client)
    const answer = this.#lookUp(host).finally(() => {
      this.#count--
      this.#running.remove(client)
      this.#underWay.delete(host)
      this.#serve()
    })
    this.#underWay.set(host, answer)
    // Everybody who waited for it may have left.
    answer.catch(() => {})
    return answer
  }
}
