/** Options of {@link IdleMap}. */
export interface IdleMapOptions<Value> {
  readonly maxEntries: number
  /** Milliseconds without use; 0 is never. */
  readonly idleTimeoutMs: number
  /** A value has left the map: idle, pushed out, deleted, or cleared. */
  readonly onRemoved: (value: Value) => void
}

/** A value in an {@link IdleMap}. */
export interface IdleEntry<Value> {
  readonly key: string
  readonly value: Value
  /** @internal */
  usedAt: number
}

/**
 * Values by key, the longest unused of which goes first: when there are too many, and when it has been idle for too
 * long. Pure: the caller brings the clock, in milliseconds, which must not go back.
 */
export class IdleMap<Value> {
  // A Map iterates in the order of insertion, and every use inserts anew: the first is the longest unused.
  readonly #entries = new Map<string, IdleEntry<Value>>()
  readonly #options: IdleMapOptions<Value>
  #newest: IdleEntry<Value> | undefined
  // Never later than the oldest entry becomes idle: until then there is nothing to look for.
  #noneIdleBefore = Number.POSITIVE_INFINITY

  constructor(options: IdleMapOptions<Value>) {
    this.#options = options
  }

  get size(): number {
    return this.#entries.size
  }

  /** When the longest unused value becomes idle; `undefined` when none ever will. */
  get nextExpiryAt(): number | undefined {
    const oldest = this.#oldest()
    const at = oldest === undefined ? Number.POSITIVE_INFINITY : this.#idleAt(oldest)
    return at === Number.POSITIVE_INFINITY ? undefined : at
  }

  /** The entry of a key, which does not count as a use of it. */
  get(key: string): IdleEntry<Value> | undefined {
    return this.#entries.get(key)
  }

  /** The entry has been used now. `false`: it is no longer in the map, idle as of now perhaps. */
  use(entry: IdleEntry<Value>, now: number): boolean {
    this.expire(now)
    if (entry !== this.#newest) {
      if (this.#entries.get(entry.key) !== entry) return false
      this.#entries.delete(entry.key)
      this.#entries.set(entry.key, entry)
      this.#newest = entry
    }
    entry.usedAt = now
    return true
  }

  /** Puts a value in, in place of the one that has its key; when full, in place of the longest unused. */
  add(key: string, value: Value, now: number): IdleEntry<Value> {
    this.expire(now)
    this.delete(key)
    const oldest = this.#oldest()
    if (oldest !== undefined && this.size >= this.#options.maxEntries) this.#remove(oldest)
    const entry = { key, value, usedAt: now }
    this.#entries.set(key, entry)
    this.#newest = entry
    this.#noneIdleBefore = Math.min(this.#noneIdleBefore, this.#idleAt(entry))
    return entry
  }

  delete(key: string): void {
    const entry = this.#entries.get(key)
    if (entry !== undefined) this.#remove(entry)
  }

  /** Removes what has been idle for too long. */
  expire(now: number): void {
    if (now < this.#noneIdleBefore) return
    let oldest = this.#oldest()
    while (oldest !== undefined && now >= this.#idleAt(oldest)) {
      this.#remove(oldest)
      oldest = this.#oldest()
    }
    this.#noneIdleBefore = oldest === undefined ? Number.POSITIVE_INFINITY : this.#idleAt(oldest)
  }

  clear(): void {
    for (const entry of this.#entries.values()) this.#remove(entry)
  }

  #oldest(): IdleEntry<Value> | undefined {
    return this.#entries.values().next().value
  }

  #idleAt({ usedAt }: IdleEntry<Value>): number {
    const { idleTimeoutMs } = this.#options
    return idleTimeoutMs === 0 ? Number.POSITIVE_INFINITY : usedAt + idleTimeoutMs
  }

  #remove(entry: IdleEntry<Value>): void {
    this.#entries.delete(entry.key)
    if (this.#newest === entry) this.#newest = undefined
    this.#options.onRemoved(entry.value)
  }
}
