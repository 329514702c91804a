// @ts-check
// One tunnel, seen from its client. Its few bytes of SOCKS5 are written out here, so that no bug is on both sides.
import { connect } from 'node:net'

const HOST = '127.0.0.1'
const GREETING = Buffer.from([5, 1, 0])
const METHOD_LENGTH = 2
const REPLY_LENGTH = 10

/**
 * What a load does with a tunnel. `buffer` is used again for the next bytes.
 * @typedef {{
 *   opened(tunnel: Tunnel): void
 *   bytes(tunnel: Tunnel, buffer: Buffer, length: number): void
 *   ended?(tunnel: Tunnel): void
 *   closed(tunnel: Tunnel, error: Error | undefined): void
 * }} Owner
 */

/** @typedef {{ serverPort: number, targetPorts: readonly number[], speaksSocks: boolean }} Way how targets are reached */

let opened = 0

export class Tunnel {
  #owner
  #hello
  /** Bytes of the handshake; `undefined` when it is over. @type {Buffer | undefined} */
  #answer = Buffer.alloc(0)
  /** @type {Error | undefined} */
  #error

  /**
   * Connects, asks for a target and says hello to it. `number` is the caller's.
   * @param {Way} way @param {Owner} owner
   * @param {{ number: number, hello: Buffer, readBytes?: number }} options `readBytes`: how much is read in one piece
   */
  constructor({ serverPort, targetPorts, speaksSocks }, owner, { number, hello, readBytes = 1024 }) {
    this.number = number
    this.#owner = owner
    this.#hello = hello
    const targetPort = targetPorts[opened++ % targetPorts.length] ?? 0
    this.socket = connect({
      port: serverPort,
      host: HOST,
      allowHalfOpen: true,
      noDelay: true,
      // One buffer for all that a tunnel reads: what the load allocates is time that the server waits.
      onread: { buffer: Buffer.allocUnsafe(readBytes), callback: (length, buffer) => this.#read(length, buffer) },
    })
    this.socket.on('connect', () => {
      if (!speaksSocks) return this.#open()
      this.socket.write(GREETING)
      this.#request = Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, targetPort >> 8, targetPort & 0xff])
    })
    this.socket.on('end', () => {
      if (this.#answer !== undefined) this.socket.destroy(new Error('the server ended a handshake'))
      else owner.ended?.(this)
    })
    this.socket.on('error', (error) => {
      this.#error = error
    })
    this.socket.on('close', () => owner.closed(this, this.#error))
  }

  /** @type {Buffer | undefined} */
  #request

  /** Gives up, as an error of the tunnel. @param {string} message */
  fail(message) {
    this.socket.destroy(new Error(message))
  }

  /** @param {number} length @param {Uint8Array} buffer */
  #read(length, buffer) {
    const bytes = /** @type {Buffer} */ (buffer)
    if (this.#answer === undefined) this.#owner.bytes(this, bytes, length)
    else this.#handshake(Buffer.concat([this.#answer, bytes.subarray(0, length)]))
    return true
  }

  /** @param {Buffer} answer all that has come */
  #handshake(answer) {
    this.#answer = answer
    if (answer.length < METHOD_LENGTH) return
    if (answer[0] !== 5 || answer[1] !== 0) return this.fail('the server chose no method')
    if (this.#request !== undefined) {
      this.socket.write(this.#request)
      this.#request = undefined
    }
    if (answer.length < METHOD_LENGTH + REPLY_LENGTH) return
    const reply = answer.subarray(METHOD_LENGTH)
    if (reply[1] !== 0 || reply[3] !== 1) return this.fail(`the server replied ${reply[1]}`)
    const rest = reply.subarray(REPLY_LENGTH)
    this.#open()
    if (rest.length > 0) this.#owner.bytes(this, rest, rest.length)
  }

  #open() {
    this.#answer = undefined
    this.socket.write(this.#hello)
    this.#owner.opened(this)
  }
}
