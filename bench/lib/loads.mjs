// @ts-check
// What is done to a server. Each load checks all that comes back, and counts its work.
import { Cycles } from './cycles.mjs'
import { beginOf, belongsAt, bytesAt, CHUNK } from './pattern.mjs'
import { Tunnels } from './tunnels.mjs'

/** @typedef {import('./samples.mjs').Samples} Samples */
/** @typedef {import('./tunnel.mjs').Tunnel} Tunnel */
/** @typedef {import('./tunnel.mjs').Way} Way */
/** @typedef {(name: string) => Promise<any>} AskTargets */
/** @typedef {{ start(): Promise<void>, work(): Promise<number> | number, stop(): Promise<void>, samples: Samples, errors: string[] }} Load */

/**
 * `count`: tunnels at a time. `size`: bytes of a message.
 * @typedef {{ kind: 'bulk-down' | 'bulk-up' | 'cycles' | 'ping-pong' | 'idle', count: number, size?: number }} Job
 */

const ECHO = Buffer.from('E')
const GO = Buffer.from('G')

/** @param {Job} job @param {Way} way @param {AskTargets} askTargets @returns {Load} */
export function createLoad({ kind, count, size = 64 }, way, askTargets) {
  switch (kind) {
    case 'cycles':
      return new Cycles(way, count)
    case 'ping-pong':
      return new PingPong(way, count, size)
    case 'idle':
      return new Idle(way, count)
    default:
      return new Bulk(way, count, kind === 'bulk-up' ? 'up' : 'down', askTargets)
  }
}

/** A few bytes there and back, over and over, on tunnels that stay. @implements {Load} */
class PingPong extends Tunnels {
  #trips = 0
  /** @type {{ sent: number, received: number, at: number }[]} */
  #states = []

  /** @param {Way} way @param {number} count @param {number} size of a message */
  constructor(way, count, size) {
    super(way, count)
    this.size = size
  }

  async start() {
    await this.openAll(this.#owner(), () => ({ hello: ECHO }))
    if (this.errors.length > 0) return
    for (const tunnel of this.tunnels) this.#ping(tunnel)
  }

  work() {
    return this.#trips
  }

  async stop() {
    this.isStopping = true
    await this.allClosed(5_000)
  }

  /** @returns {import('./tunnel.mjs').Owner} */
  #owner() {
    return {
      opened: () => {},
      bytes: (tunnel, buffer, length) => this.#bytes(tunnel, buffer, length),
      closed: (tunnel, error) => this.lost(tunnel, error),
    }
  }

  /** @param {Tunnel} tunnel */
  #ping(tunnel) {
    const state = this.#states[tunnel.number]
    if (state === undefined) return
    if (this.isStopping) return tunnel.socket.end()
    tunnel.socket.write(bytesAt(beginOf(tunnel.number, 'up') + state.sent, this.size))
    state.sent += this.size
    state.at = performance.now()
  }

  /** @param {Tunnel} tunnel @param {Buffer} buffer @param {number} length */
  #bytes(tunnel, buffer, length) {
    const state = this.#states[tunnel.number]
    if (state === undefined) {
      if (length !== 1 || buffer[0] !== ECHO[0]) return tunnel.fail('a first echo that is not what was sent')
      this.#states[tunnel.number] = { sent: 0, received: 0, at: 0 }
      return this.ready(tunnel)
    }
    if (!belongsAt(buffer, length, beginOf(tunnel.number, 'up') + state.received)) {
      return tunnel.fail('an echo that is not what was sent')
    }
    state.received += length
    if (state.received < state.sent) return
    this.#trips++
    this.samples.add(performance.now() - state.at)
    this.#ping(tunnel)
  }
}

/** Tunnels that only exist. Before they are closed each must still echo. @implements {Load} */
class Idle extends Tunnels {
  #echoes = 0

  async start() {
    await this.openAll(this.#owner(), () => ({ hello: ECHO, readBytes: 64 }))
  }

  work() {
    return this.tunnels.length
  }

  async stop() {
    for (const { socket } of this.tunnels) socket.write(ECHO)
    const deadline = performance.now() + 10_000
    while (this.#echoes < 2 * this.count && this.errors.length === 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    if (this.#echoes !== 2 * this.count) this.errors.push(`${this.#echoes} echoes of ${2 * this.count}`)
    this.isStopping = true
    for (const { socket } of this.tunnels) socket.end()
    await this.allClosed(10_000)
  }

  /** @returns {import('./tunnel.mjs').Owner} */
  #owner() {
    return {
      opened: () => {},
      bytes: (tunnel, buffer, length) => {
        if (length !== 1 || buffer[0] !== ECHO[0]) return tunnel.fail('an echo that is not what was sent')
        this.#echoes++
        this.ready(tunnel)
      },
      closed: (tunnel, error) => this.lost(tunnel, error),
    }
  }
}

/** As many bytes as can be, one way, in so many streams. @implements {Load} */
class Bulk extends Tunnels {
  #received = 0
  /** Bytes of each stream, at this end. @type {number[]} */
  #bytes = []
  #askTargets
  #direction

  /** @param {Way} way @param {number} count @param {'up' | 'down'} direction @param {AskTargets} askTargets */
  constructor(way, count, direction, askTargets) {
    super(way, count)
    this.#direction = direction
    this.#askTargets = askTargets
  }

  async start() {
    const kind = this.#direction === 'up' ? 'U' : 'D'
    await this.openAll(this.#owner(), (number) => {
      this.#bytes[number] = 0
      const hello = Buffer.from(`${kind}....`)
      hello.writeUInt32BE(number, 1)
      return { hello, readBytes: this.#direction === 'down' ? CHUNK : 64 }
    })
    if (this.errors.length > 0) return
    for (const tunnel of this.tunnels) {
      if (this.#direction === 'down') {
        tunnel.socket.write(GO)
        continue
      }
      tunnel.socket.on('drain', () => this.#fill(tunnel))
      this.#fill(tunnel)
    }
  }

  work() {
    return this.#direction === 'down' ? this.#received : this.#askTargets('received')
  }

  /** Lets what is under way arrive, and compares what was sent with what came, stream by stream. */
  async stop() {
    this.isStopping = true
    await this.#askTargets('stop')
    await this.allClosed(10_000)
    /** @type {Map<number, import('./targets.mjs').Stream>} */
    const streams = new Map(await this.#askTargets('streams'))
    for (const { number } of this.tunnels) {
      const there = streams.get(number)
      const here = this.#bytes[number]
      if (there?.corrupt !== 0) this.errors.push(`stream ${number} is not what was sent`)
      if (there?.bytes !== here) this.errors.push(`stream ${number}: ${here} bytes here, ${there?.bytes} there`)
    }
  }

  /** @returns {import('./tunnel.mjs').Owner} */
  #owner() {
    return {
      opened: (tunnel) => this.ready(tunnel),
      bytes: (tunnel, buffer, length) => this.#take(tunnel, buffer, length),
      ended: ({ socket }) => void socket.end(),
      closed: (tunnel, error) => this.lost(tunnel, error),
    }
  }

  /** @param {Tunnel} tunnel @param {Buffer} buffer @param {number} length */
  #take(tunnel, buffer, length) {
    const { number } = tunnel
    const before = this.#bytes[number] ?? 0
    if (!belongsAt(buffer, length, beginOf(number, 'down') + before)) {
      return tunnel.fail(`stream ${number} is not what was sent`)
    }
    this.#bytes[number] = before + length
    this.#received += length
  }

  /** @param {Tunnel} tunnel */
  #fill({ number, socket }) {
    const begin = beginOf(number, 'up')
    while (!this.isStopping) {
      const before = this.#bytes[number] ?? 0
      this.#bytes[number] = before + CHUNK
      // What the system takes at once is no reason to wait, and then there is no 'drain'.
      if (!socket.write(bytesAt(begin + before, CHUNK))) return
    }
    if (!socket.writableEnded) socket.end()
  }
}
