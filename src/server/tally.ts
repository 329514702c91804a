/** How many of something there are by key. A key with none takes no memory. */
export class Tally<K> {
  readonly #counts = new Map<K, number>()

  get(key: K): number {
    return this.#counts.get(key) ?? 0
  }

  /** Counts one more. Returns how many there are now. */
  add(key: K): number {
    const count = this.get(key) + 1
    this.#counts.set(key, count)
    return count
  }

  /** Counts one less. */
  remove(key: K): void {
    const count = this.get(key) - 1
    if (count > 0) this.#counts.set(key, count)
    else this.#counts.delete(key)
  }
}
