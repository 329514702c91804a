// A proxy that does exactly what a script says, right or wrong.

import { connect, createServer, type Server, type Socket } from 'node:net'

/** Bytes from hexadecimal text; spaces are ignored. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s/g, ''), 'hex')
}

/** The usual success reply: BND 127.0.0.1:4660. */
export const SUCCESS: Buffer = hex('05 00 00 01 7f 00 00 01 12 34')

/** The client's end as a script sees it. */
export class Peer {
  readonly socket: Socket
  /** Resolves when this connection is closed, by whomever. */
  readonly closed: Promise<void>
  #inbox = Buffer.alloc(0)
  #wake: () => void = () => {}

  constructor(socket: Socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#inbox = Buffer.concat([this.#inbox, chunk])
      this.#wake()
    })
    socket.on('end', () => this.#wake())
    socket.on('close', () => this.#wake())
  }

  /** Bytes that came and were not read by the script. */
  get unread(): Buffer {
    return this.#inbox
  }

  /** The next `length` bytes. */
  async read(length: number): Promise<Buffer> {
    while (this.#inbox.length < length) {
      if (this.socket.destroyed || this.socket.readableEnded) throw new Error('the client has left')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const bytes = this.#inbox.subarray(0, length)
    this.#inbox = this.#inbox.subarray(length)
    return bytes
  }

  /** Reads as many bytes as `text` has and compares. */
  async expect(text: string): Promise<void> {
    const wanted = hex(text)
    const got = await this.read(wanted.length)
    if (!got.equals(wanted)) throw new Error(`expected ${wanted.toString('hex')}, got ${got.toString('hex')}`)
  }

  /** A greeting, with whatever methods; answers it with "no authentication", or `method`. */
  async greet(method = 0x00): Promise<number[]> {
    const [, count = 0] = await this.read(2)
    const methods = await this.read(count)
    this.send(Uint8Array.of(0x05, method))
    return [...methods]
  }

  /** RFC 1929 credentials, unanswered. */
  async readCredentials(): Promise<{ username: string; password: string }> {
    const username = await this.read((await this.read(2))[1] ?? 0)
    const password = await this.read((await this.read(1))[0] ?? 0)
    return { username: username.toString(), password: password.toString() }
  }

  /** A whole request, as it stands on the wire. */
  async readRequest(): Promise<Buffer> {
    // VER CMD RSV ATYP, and the first byte of the address: of a name, its length.
    const head = await this.read(5)
    const lengths: { readonly [atyp: number]: number | undefined } = { 1: 3 + 2, 4: 15 + 2 }
    const rest = await this.read(lengths[head[3] ?? 0] ?? (head[4] ?? 0) + 2)
    return Buffer.concat([head, rest])
  }

  send(bytes: Uint8Array | string): void {
    this.socket.write(typeof bytes === 'string' ? hex(bytes) : bytes)
  }

  /** Each byte in a segment of its own. */
  async sendByByte(bytes: Uint8Array): Promise<void> {
    this.socket.setNoDelay(true)
    for (const byte of bytes) {
      await new Promise<void>((resolve) => this.socket.write(Uint8Array.of(byte), () => resolve()))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** FIN. */
  end(): void {
    this.socket.end()
  }

  /** RST. */
  reset(): void {
    this.socket.resetAndDestroy()
  }

  /** A greeting and a request, both granted; then the socket of the target. */
  async open(): Promise<Socket> {
    await this.greet()
    await this.readRequest()
    this.send(SUCCESS)
    return this.socket
  }
}

export type Script = (peer: Peer) => Promise<void> | void

/** A listening proxy that runs a script for each connection. */
export class ScriptedProxy {
  readonly peers: Peer[] = []
  readonly #server: Server
  #failure: unknown
  #onPeer: (peer: Peer) => void = () => {}

  /** `allowHalfOpen`: do not answer the client's FIN with ours. */
  constructor(script: Script, allowHalfOpen = false) {
    this.#server = createServer({ allowHalfOpen, noDelay: true }, (socket) => {
      const peer = new Peer(socket)
      this.peers.push(peer)
      this.#onPeer(peer)
      Promise.resolve(script(peer)).catch((error: unknown) => {
        // A client that leaves in the middle is what many tests are about; what it said wrong is not.
        if (!(error instanceof Error && error.message === 'the client has left')) this.#failure ??= error
        socket.destroy()
      })
    })
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return address.port
  }

  /** `socks5h://127.0.0.1:PORT`, with user information when it is given. */
  url(userinfo = ''): string {
    return `socks5h://${userinfo === '' ? '' : `${userinfo}@`}127.0.0.1:${this.port}`
  }

  /** Resolves once `count` connections have come. */
  async connections(count: number): Promise<readonly Peer[]> {
    while (this.peers.length < count) {
      await new Promise<void>((resolve) => {
        this.#onPeer = () => resolve()
      })
    }
    return this.peers
  }

  /** Ends everything. Rejects when the client did not say what the script expected. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const { socket } of this.peers) socket.destroy()
    await closed
    if (this.#failure !== undefined) throw this.#failure
  }
}

/** Starts a scripted proxy for the time of one function. */
export async function withProxy<T>(
  script: Script,
  use: (proxy: ScriptedProxy) => Promise<T>,
  allowHalfOpen = false,
): Promise<T> {
  const proxy = await new ScriptedProxy(script, allowHalfOpen).listen()
  try {
    return await use(proxy)
  } finally {
    await proxy.close()
  }
}

/**
 * A proxy that grants everything and really connects, for chains. Tells which destinations it was asked for.
 */
export async function withRealProxies<T>(
  count: number,
  use: (proxies: readonly { readonly proxy: ScriptedProxy; readonly requests: Buffer[] }[]) => Promise<T>,
): Promise<T> {
  const proxies: { proxy: ScriptedProxy; requests: Buffer[] }[] = []
  for (let index = 0; index < count; index++) {
    const requests: Buffer[] = []
    const proxy = await new ScriptedProxy(async (peer) => {
      await peer.greet()
      const request = await peer.readRequest()
      requests.push(request)
      await forward(peer, request)
    }, true).listen()
    proxies.push({ proxy, requests })
  }
  try {
    return await use(proxies)
  } finally {
    for (const { proxy } of proxies) await proxy.close()
  }
}

/** Connects to the port of a request on 127.0.0.1, whatever its address says, and joins both ends. */
async function forward(peer: Peer, request: Buffer): Promise<void> {
  const target = connect({ host: '127.0.0.1', port: request.readUInt16BE(request.length - 2), allowHalfOpen: true })
  await new Promise<void>((resolve, reject) => {
    target.once('connect', resolve)
    target.once('error', () => {
      peer.send('05 05 00 01 00 00 00 00 00 00')
      reject(new Error('the client has left'))
    })
  })
  target.on('error', () => peer.socket.destroy())
  peer.socket.on('close', () => target.destroy())
  target.on('close', () => peer.socket.destroy())
  peer.send(SUCCESS)
  target.write(peer.unread)
  peer.socket.removeAllListeners('data')
  peer.socket.pipe(target)
  target.pipe(peer.socket)
}
