// @ts-check

/** Milliseconds of things that happened since the last look. */
export class Samples {
  #values = new Float64Array(1 << 16)
  #count = 0

  /** @param {number} milliseconds */
  add(milliseconds) {
    if (this.#count === this.#values.length) {
      const more = new Float64Array(2 * this.#count)
      more.set(this.#values)
      this.#values = more
    }
    this.#values[this.#count++] = milliseconds
  }

  /** Microseconds that half, and 99 of 100, did not exceed; then begins anew. */
  take() {
    const sorted = this.#values.subarray(0, this.#count).sort()
    const [p50 = Number.NaN, p99 = Number.NaN] = [0.5, 0.99].map((part) => sorted[Math.floor(part * sorted.length)])
    this.#count = 0
    return { p50Microseconds: p50 * 1_000, p99Microseconds: p99 * 1_000 }
  }
}
