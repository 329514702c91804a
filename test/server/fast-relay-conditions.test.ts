// When the fast paths of a relay are open: between a socket that this server accepted and gave to nobody, and one that it
// dialed itself. A socket that was dialed for them has no 'data' listener, and what was written to it is gone afterwards.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  createForwardServer,
  createSocksServer,
  customAuth,
  relay,
  type ServerOptions,
} from '../../src/server/index.js'
import { Pattern } from '../soak/relay-pattern.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

afterEach(() => vi.restoreAllMocks())

const UPLOAD = new Pattern(1928).bytes(0, 4 * 1_048_576)

/** What was dialed, and what was written to it. */
interface Dialed {
  readonly socket: Socket
  readonly chunks: Buffer[]
  readonly lengths: number[]
}

/** Every socket that is dialed to `port` from here on. */
function watchDials(port: number): Dialed[] {
  const dialed: Dialed[] = []
  vi.restoreAllMocks()
  const original = Socket.prototype.connect
  vi.spyOn(Socket.prototype, 'connect').mockImplementation(function (this: Socket, ...args: unknown[]) {
    // Node puts its own `write` back.
    const result = Reflect.apply(original, this, args)
    if (JSON.stringify(args).includes(`"port":${port}`)) {
      const seen: Dialed = { socket: this, chunks: [], lengths: [] }
      dialed.push(seen)
      const { write } = this
      this.write = (chunk: Buffer, ...rest: unknown[]) => {
        seen.chunks.push(chunk)
        seen.lengths.push(chunk.length)
        return Reflect.apply(write, this, [chunk, ...rest])
      }
    }
    return result
  })
  return dialed
}

interface Seen {
  /** Whether chunks were taken away after they were sent. */
  readonly isReleased: boolean
  /** Whether what was dialed reads into memory of ours. */
  readonly isReused: boolean
}

/** Sends 4 MiB through an open tunnel to an echo, compares every byte, and tells how it went. */
async function seen(client: RawClient, dialed: readonly Dialed[]): Promise<Seen> {
  client.write(UPLOAD)
  const back = await client.read(UPLOAD.length)
  expect(back === UPLOAD.toString('hex')).toBe(true)
  const [only] = dialed
  if (only === undefined) throw new Error('nothing was dialed')
  const isReused = only.socket.listenerCount('data') === 0
  const isReleased = only.chunks.some((chunk, index) => chunk.length < (only.lengths[index] ?? 0))
  return { isReleased, isReused }
}

async function open(client: RawClient, request: Buffer, greeting: Buffer = GREETING_NO_AUTH): Promise<void> {
  client.write(Buffer.concat([greeting, request]))
  expect((await client.read(12)).slice(4, 8)).toBe('0500')
}

/** A tunnel through a server with `options`, whose client connects to `listen()`. */
async function through(options: ServerOptions, host = '127.0.0.1', greeting?: Buffer): Promise<Seen> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  const server = createSocksServer(options)
  cleanup(() => server.close({ graceMs: 0 }))
  const { port } = await server.listen(0)
  const client = await RawClient.connect(port)
  cleanup(() => client.stream.destroy())
  const dialed = watchDials(echo.port)
  await open(client, connectRequest(host, echo.port), greeting)
  return seen(client, dialed)
}

const FAST = { isReleased: true, isReused: true }
const PLAIN = { isReleased: false, isReused: false }

describe('the fast paths are open', () => {
  it('by default, to literals and names', async () => {
    expect(await through({})).toEqual(FAST)
    expect(await through({ localAddress: '127.0.0.3' })).toEqual(FAST)
    expect(await through({ authorize: () => true })).toEqual(FAST)
  })

  it('to a name whose first address refuses: the bytes are those of the second', async () => {
    const addresses = [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ]
    const lookup: ServerOptions['lookup'] = (_name, _options, callback) => callback(null, addresses)
    expect(await through({ lookup }, 'target.test')).toEqual(FAST)
    expect(await through({ lookup, localAddress: '127.0.0.1' }, 'target.test')).toEqual(FAST)
  })

  it('to clients on a Unix socket, whose sockets are plain', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const server = createSocksServer()
    cleanup(() => server.close({ graceMs: 0 }))
    const path = join(tmpdir(), `tubesock-fast-${process.pid}.sock`)
    await server.listen({ path })
    const socket = connect({ path, allowHalfOpen: true })
    cleanup(() => socket.destroy())
    const client = new RawClient(socket)
    const dialed = watchDials(echo.port)
    await open(client, connectRequest('127.0.0.1', echo.port))
    expect(await seen(client, dialed)).toEqual(FAST)
  })

  it('of a forward server with a target that is known', async () => {
    expect(await forwarded((port) => ({ host: '127.0.0.1', port }))).toEqual(FAST)
  })
})

describe('the fast paths are closed', () => {
  it.each<[string, ServerOptions]>([
    ['fastRelay is false', { fastRelay: false }],
    ['there is a fallback, which is given sockets', { fallback: (socket) => socket.destroy() }],
    ['a dialer of the application brings the target', { dial: ({ host, port }) => connect({ host, port }) }],
  ])('where %s', async (_what, options) => {
    expect(await through(options)).toEqual(PLAIN)
  })

  it('where a method of the application is given the stream', async () => {
    const method = customAuth(0x80, async () => ({
      identity: { method: 'mine' },
    }))
    expect(await through({ auth: [method] }, '127.0.0.1', Buffer.from([5, 1, 0x80]))).toEqual(PLAIN)
  })

  it('to streams that are given to handle()', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const server = createSocksServer()
    cleanup(() => server.close({ graceMs: 0 }))
    const taps: Buffer[] = []
    const front = createServer({ allowHalfOpen: true }, (socket) => {
      server.handle(socket, { clientAddress: '127.0.0.1' })
      socket.on('data', (chunk) => taps.push(chunk))
    }).listen(0, '127.0.0.1')
    cleanup(() => front.close())
    await once(front, 'listening')
    const address = front.address()
    const client = await RawClient.connect(typeof address === 'object' && address !== null ? address.port : 0)
    cleanup(() => client.stream.destroy())
    const dialed = watchDials(echo.port)
    await open(client, connectRequest('127.0.0.1', echo.port))
    expect(await seen(client, dialed)).toEqual(PLAIN)
    expect(Buffer.concat(taps).subarray(-UPLOAD.length).equals(UPLOAD)).toBe(true)
  })

  it('of a forward server whose target is a function, which is shown the socket', async () => {
    expect(await forwarded((port) => () => ({ host: '127.0.0.1', port }))).toEqual(PLAIN)
  })

  it('of the exported relay()', async () => {
    const echo = await startEcho()
    const front = await startTarget()
    cleanup(() => Promise.all([echo.close(), front.close()]))
    const client = await RawClient.connect(front.port)
    cleanup(() => client.stream.destroy())
    const dialed = watchDials(echo.port)
    const target = connect({ port: echo.port, host: '127.0.0.1', allowHalfOpen: true })
    const joint = relay(await front.connection(), target)
    cleanup(() => joint.destroy())
    expect(await seen(client, dialed)).toEqual(PLAIN)
  })
})

describe('who looks at a socket that the server has accepted', () => {
  it.each<[string, (socket: Socket, keep: (chunk: Buffer) => void) => unknown]>([
    ["'data'", (socket, keep) => socket.on('data', keep)],
    [
      "'readable' and read()",
      (socket, keep) =>
        socket.on('readable', () => {
          for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) keep(chunk)
        }),
    ],
    ['a pipe', (socket, keep) => socket.pipe(new PassThrough()).on('data', keep)],
  ])('by %s keeps every byte', async (_how, look) => {
    const kept: Buffer[][] = []
    // As diagnostics do. Among what is accepted is the echo's side of the tunnel, too.
    const listener = (message: unknown): void => {
      const socket: unknown = Reflect.get(Object(message), 'socket')
      const chunks: Buffer[] = []
      kept.push(chunks)
      if (socket instanceof Socket) look(socket, (chunk) => chunks.push(chunk))
    }
    subscribe('net.server.socket', listener)
    cleanup(() => unsubscribe('net.server.socket', listener))
    expect(await through({})).toEqual({ isReleased: false, isReused: true })
    expect(kept).toHaveLength(2)
    for (const chunks of kept) expect(Buffer.concat(chunks).subarray(-UPLOAD.length).equals(UPLOAD)).toBe(true)
  })
})

async function forwarded(target: (port: number) => Parameters<typeof createForwardServer>[0]['target']): Promise<Seen> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  const server = createForwardServer({ target: target(echo.port) })
  cleanup(() => server.close({ graceMs: 0 }))
  const { port } = await server.listen(0)
  const dialed = watchDials(echo.port)
  const client = await RawClient.connect(port)
  cleanup(() => client.stream.destroy())
  return seen(client, dialed)
}
