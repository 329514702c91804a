/** A place in a {@link Roster}. */
export class Entry<T> {
  value: T | undefined
  before: Entry<T> | undefined
  after: Entry<T> | undefined

  constructor(value: T, before: Entry<T> | undefined) {
    this.value = value
    this.before = before
  }
}

/**
 * Everything there is of something short-lived, in the order in which it came.
 *
 * Not a `Set`: V8 makes a new table for one every so many additions and removals, and the old ones, which outlive their
 * time, keep what was in them from the cheap garbage collections. With a `Set` of connections each of them, with all it
 * refers to, lived until the next expensive one, and collecting garbage took three times as long.
 */
export class Roster<T> {
  #size = 0
  #first: Entry<T> | undefined
  #last: Entry<T> | undefined

  get size(): number {
    return this.#size
  }

  /** What came first of all that is there. */
  get first(): T | undefined {
    return this.#first?.value
  }

  /** Adds a value at the end. */
  add(value: T): Entry<T> {
    const entry = new Entry(value, this.#last)
    if (this.#last === undefined) this.#first = entry
    else this.#last.after = entry
    this.#last = entry
    this.#size++
    return entry
  }

  /** Takes an entry of this roster off; harmless the second time. */
  remove(entry: Entry<T>): void {
    if (entry.value === undefined) return
    const { before, after } = entry
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    // Whoever still holds it must not hold its neighbours.
    entry.value = undefined
    entry.before = undefined
    entry.after = undefined
    this.#size--
  }

  /** All values, as they are now: what is removed or added meanwhile changes nothing. */
  values(): T[] {
    const values: T[] = []
    for (let entry = this.#first; entry !== undefined; entry = entry.after) {
      if (entry.value !== undefined) values.push(entry.value)
    }
    return values
  }
}
