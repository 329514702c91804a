import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** A client that says exactly what a test tells it to, and reads exactly what it asks for. */
export class RawClient {
  readonly stream: Duplex
  /** Settles when the stream is closed, with the error that closed it, if any. */
  readonly closed: Promise<Error | undefined>
  #chunks: Buffer[] = []
  #length = 0
  #ended = false
  #error: Error | undefined
  #wake: () => void = () => {}

  constructor(stream: Duplex) {
    this.stream = stream
    stream.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#length += chunk.length
      this.#wake()
    })
    stream.on('end', () => {
      this.#ended = true
      this.#wake()
    })
    stream.on('error', (error) => {
      this.#error = error
    })
    this.closed = new Promise((resolve) => {
      stream.on('close', () => {
        this.#ended = true
        this.#wake()
        resolve(this.#error)
      })
    })
  }

  static async connect(port: number, options: { host?: string; localAddress?: string } = {}): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', allowHalfOpen: true, noDelay: true, port, ...options })
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  /** Sends bytes, given as hex (blanks are ignored) or as they are. */
  write(bytes: string | Uint8Array): void {
    this.stream.write(typeof bytes === 'string' ? hex(bytes) : bytes)
  }

  /** Sends bytes and resolves when they were handed over, so that the next write is a segment of its own. */
  async send(bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => this.stream.write(bytes, () => setImmediate(resolve)))
  }

  /** The next `count` bytes, as hex. Fewer if the stream ends first. */
  async read(count: number): Promise<string> {
    await this.#until(() => this.#length >= count)
    return this.#take(count).toString('hex')
  }

  /** Everything until the peer's FIN (or a reset). */
  async readToEnd(): Promise<Buffer> {
    await this.#until(() => false)
    return this.#take(this.#length)
  }

  end(): void {
    this.stream.end()
  }

  reset(): void {
    const socket = this.stream as Socket // the streams of `connect` are sockets
    socket.resetAndDestroy()
  }

  #take(count: number): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all.subarray(count)]
    this.#length = Math.max(0, all.length - count)
    return all.subarray(0, count)
  }

  async #until(done: () => boolean): Promise<void> {
    while (!done() && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

/** Bytes of a hex text with blanks. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
}

/** A CONNECT request as hex: ATYP by the kind of host. */
export function connectRequest(host: string, port: number, command = 1): Buffer {
  const octets = /^\d+\.\d+\.\d+\.\d+$/.exec(host)
  const address = octets
    ? Buffer.from([1, ...host.split('.').map(Number)])
    : Buffer.concat([Buffer.from([3, Buffer.byteLength(host, 'latin1')]), Buffer.from(host, 'latin1')])
  return Buffer.concat([Buffer.from([5, command, 0]), address, Buffer.from([port >> 8, port & 0xff])])
}

/** RFC 1929 credentials. */
export function credentials(username: string | Uint8Array, password: string | Uint8Array): Buffer {
  const user = Buffer.from(username as string) // Buffer.from takes either
  const pass = Buffer.from(password as string)
  return Buffer.concat([Buffer.from([1, user.length]), user, Buffer.from([pass.length]), pass])
}

export const GREETING_NO_AUTH = hex('05 01 00')
export const GREETING_USER_PASS = hex('05 01 02')
