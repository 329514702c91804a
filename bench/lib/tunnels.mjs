// @ts-check
import { Samples } from './samples.mjs'
import { Tunnel } from './tunnel.mjs'

/** @typedef {import('./tunnel.mjs').Way} Way */

/** More than that are not opened at a time. */
const OPENING = 64

/** What loads have in common: tunnels that stay, and what went wrong. */
export class Tunnels {
  samples = new Samples()
  /** @type {string[]} */
  errors = []
  /** @type {Tunnel[]} */
  tunnels = []
  isStopping = false
  /** @type {Map<Tunnel, () => void>} */
  #opening = new Map()
  #closed = 0
  #wake = () => {}

  /** @param {Way} way @param {number} count */
  constructor(way, count) {
    this.way = way
    this.count = count
  }

  /**
   * Opens all tunnels, so many at a time.
   * @param {import('./tunnel.mjs').Owner} owner @param {(number: number) => { hello: Buffer, readBytes?: number }} options
   */
  async openAll(owner, options) {
    let next = 0
    const openSome = async () => {
      while (next < this.count && this.errors.length === 0) {
        const number = next++
        const tunnel = new Tunnel(this.way, owner, { number, ...options(number) })
        this.tunnels.push(tunnel)
        await new Promise((resolve) => this.#opening.set(tunnel, () => resolve(undefined)))
      }
    }
    await Promise.all(Array.from({ length: OPENING }, openSome))
  }

  /** A tunnel is as far as it has to be before the load begins. @param {Tunnel} tunnel */
  ready(tunnel) {
    this.#opening.get(tunnel)?.()
    this.#opening.delete(tunnel)
  }

  /** @param {Tunnel} tunnel @param {Error | undefined} error */
  lost(tunnel, error) {
    this.#closed++
    if (!this.isStopping || error !== undefined) this.errors.push(error?.message ?? 'a tunnel was closed too early')
    this.ready(tunnel)
    this.#wake()
  }

  /** Resolves when every tunnel is closed, or when it has been long enough. @param {number} milliseconds */
  async allClosed(milliseconds) {
    const deadline = performance.now() + milliseconds
    while (this.#closed < this.tunnels.length && performance.now() < deadline) {
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined)
        setTimeout(resolve, 50)
      })
    }
    if (this.#closed < this.tunnels.length) this.errors.push('tunnels that do not end')
    for (const { socket } of this.tunnels) socket.destroy()
  }
}
