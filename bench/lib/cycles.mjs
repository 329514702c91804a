// @ts-check
import { Samples } from './samples.mjs'
import { Tunnel } from './tunnel.mjs'

/** @typedef {import('./loads.mjs').Load} Load */
/** @typedef {import('./tunnel.mjs').Way} Way */

const ECHO = Buffer.from('E')

/** Connect, one byte each way, close, and again: so many at a time. @implements {Load} */
export class Cycles {
  samples = new Samples()
  /** @type {string[]} */
  errors = []
  #cycles = 0
  #isStopping = false
  /** @type {Map<Tunnel, { begin: number, isEchoed: boolean }>} */
  #running = new Map()
  #wake = () => {}

  /** @param {Way} way @param {number} count */
  constructor(way, count) {
    this.way = way
    this.count = count
  }

  async start() {
    for (let slot = 0; slot < this.count; slot++) this.#begin()
  }

  work() {
    return this.#cycles
  }

  async stop() {
    this.#isStopping = true
    const deadline = performance.now() + 5_000
    while (this.#running.size > 0 && performance.now() < deadline) {
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined)
        setTimeout(resolve, 50)
      })
    }
    if (this.#running.size > 0) this.errors.push('tunnels that do not end')
    for (const { socket } of this.#running.keys()) socket.destroy()
  }

  #begin() {
    this.#running.set(new Tunnel(this.way, this, { number: 0, hello: ECHO, readBytes: 64 }), {
      begin: performance.now(),
      isEchoed: false,
    })
  }

  opened() {}

  /** @param {Tunnel} tunnel @param {Buffer} buffer @param {number} length */
  bytes(tunnel, buffer, length) {
    const cycle = this.#running.get(tunnel)
    if (cycle === undefined) return
    if (cycle.isEchoed || length !== 1 || buffer[0] !== ECHO[0]) return tunnel.fail('an echo that is not what was sent')
    cycle.isEchoed = true
    this.samples.add(performance.now() - cycle.begin)
    tunnel.socket.end()
  }

  /** @param {Tunnel} tunnel @param {Error | undefined} error */
  closed(tunnel, error) {
    const cycle = this.#running.get(tunnel)
    this.#running.delete(tunnel)
    if (error !== undefined) this.errors.push(error.message)
    else if (!cycle?.isEchoed) this.errors.push('a tunnel was closed without an echo')
    else this.#cycles++
    if (!this.#isStopping && this.errors.length < 10) this.#begin()
    else this.#wake()
  }
}
