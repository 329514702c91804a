import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import type { ServerOptions } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, GREETING_NO_AUTH, type RawClient } from '../support/raw-client.js'
import { cleanup, type Fixture, startServer } from '../support/servers.js'
import { startTarget, type Target } from '../support/targets.js'

interface Tunnel extends Fixture {
  readonly client_: RawClient
  readonly far: Socket
  readonly target: Target
}

async function openTunnel(options: ServerOptions = {}): Promise<Tunnel> {
  const target = await startTarget()
  cleanup(() => target.close())
  const fixture = await startServer(options)
  const client = await fixture.client()
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
  expect((await client.read(12)).slice(4, 8)).toBe('0500')
  return { ...fixture, client_: client, far: await target.connection(), target }
}

const MEGABYTES_8 = Buffer.from(
  Array.from({ length: 8_192 }, (_, index) => String.fromCharCode(97 + (index % 26)))
    .join('')
    .repeat(1_024),
)

function collect(socket: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  return once(socket, 'end').then(() => Buffer.concat(chunks))
}

describe('tunnel', () => {
  it("S81 the client's FIN arrives after all its bytes, and the answer (8 MiB) still flows", async () => {
    const { client_: client, far, closed } = await openTunnel()
    const closing = closed()
    const upload = collect(far)
    client.write(MEGABYTES_8)
    client.end()
    expect((await upload).equals(MEGABYTES_8)).toBe(true)
    far.end(MEGABYTES_8)
    expect((await client.readToEnd()).equals(MEGABYTES_8)).toBe(true)
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: MEGABYTES_8.length, bytesDown: MEGABYTES_8.length })
  })

  it("S82 the target's FIN arrives after all its bytes, and the client may still talk (8 MiB)", async () => {
    const { client_: client, far, closed } = await openTunnel()
    const closing = closed()
    const upload = collect(far)
    far.end(MEGABYTES_8)
    expect((await client.readToEnd()).equals(MEGABYTES_8)).toBe(true)
    client.write(MEGABYTES_8)
    client.end()
    expect((await upload).equals(MEGABYTES_8)).toBe(true)
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: MEGABYTES_8.length, bytesDown: MEGABYTES_8.length })
  })

  it('S83 a reset of the target resets the client', async () => {
    const { client_: client, far, closed } = await openTunnel()
    const closing = closed()
    far.resetAndDestroy()
    expect(await client.closed).toMatchObject({ code: 'ECONNRESET' })
    expect(await closing).toMatchObject({ reason: 'reset', error: { code: 'ECONNRESET' } })
  })

  it('S83 a reset of the client resets the target, which never sees a clean FIN', async () => {
    const { client_: client, far, closed } = await openTunnel()
    const closing = closed()
    const onEnd = vi.fn()
    far.on('end', onEnd).resume()
    const failed = once(far, 'error')
    client.reset()
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
    expect(onEnd).not.toHaveBeenCalled()
    expect(await closing).toMatchObject({ reason: 'reset' })
  })

  it('S83 where there is no reset to send, the stream is destroyed', async () => {
    const { server, closed } = await startServer()
    const target = await startTarget()
    cleanup(() => target.close())
    const [near, far] = duplexPair()
    const closing = closed()
    server.handle(near, { clientAddress: '127.0.0.1' })
    far.resume()
    far.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    const [socket] = await Promise.all([target.connection(), once(server, 'established')])
    socket.resetAndDestroy()
    expect(await closing).toMatchObject({ reason: 'reset' })
    expect(near.destroyed).toBe(true)
  })

  it.each(['client', 'target'])('S84 half-closed by the %s and silent ends after the drain timeout', async (side) => {
    const { client_: client, far, closed } = await openTunnel({ drainTimeoutMs: 40 })
    const closing = closed()
    if (side === 'client') client.end()
    else far.end()
    expect(await closing).toMatchObject({ reason: 'drain-timeout' })
  })

  it('S84 bytes put the drain timeout off', async () => {
    const { client_: client, far, closed } = await openTunnel({ drainTimeoutMs: 200 })
    const closing = closed()
    client.end()
    for (let sent = 0; sent < 8; sent++) {
      far.write('x')
      await client.read(1)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    far.end('.')
    expect((await client.readToEnd()).toString()).toBe('.')
    expect(await closing).toMatchObject({ reason: 'end', bytesDown: 9 })
  })

  it.each(['up', 'down'])('S85 a slow reader holds the sender back (%s)', async (way) => {
    const { client_: client, far } = await openTunnel()
    const [source, sink] = way === 'up' ? [client.stream, far] : [far, client.stream]
    sink.pause()
    const total = 64 * 1_048_576
    for (let sent = 0; sent < total; sent += MEGABYTES_8.length) source.write(MEGABYTES_8)
    let waiting = -1
    while (waiting !== source.writableLength) {
      waiting = source.writableLength
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(waiting).toBeGreaterThan(total / 2)
    let received = 0
    sink.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    source.end()
    sink.resume()
    await once(sink, 'end')
    expect(received).toBe(total)
  })

  it('S86 an error on either side, at any moment, never leaves the server', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { client: connect, server } = await startServer()
    const closings = new Promise<void>((resolve) => {
      let open = 40
      server.on('closed', () => --open === 0 && resolve())
    })
    for (let round = 0; round < 40; round++) {
      const client = await connect()
      client.write(GREETING_NO_AUTH)
      if (round % 4 > 0) client.write(connectRequest('127.0.0.1', target.port))
      if (round % 4 > 1) await client.read(12)
      if (round % 4 === 3) (await target.connection()).resetAndDestroy()
      client.reset()
    }
    await closings
  })

  it('S86 a stream that is destroyed without an error while the dial is pending counts as a reset', async () => {
    const dialing = deferred<AbortSignal>()
    const { server, closed } = await startServer({
      dial: ({ signal }) => {
        dialing.resolve(signal)
        return new Promise<never>(() => {})
      },
    })
    const [near, far] = duplexPair()
    const closing = closed()
    server.handle(near)
    far.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
    const signal = await dialing.promise
    near.destroy()
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
    expect(signal.aborted).toBe(true)
  })
})
