import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test, vi } from 'vitest'
import { Relay } from '../../src/stream/relay.js'
import { ReusedReader } from '../../src/stream/reused-reader.js'
import { cleanup, startServer } from '../support/servers.js'
import { startTarget } from '../support/targets.js'

const CONNECT = '050100 050100017f000001'

/** A request for a port of loopback, greeting included. */
function requestFor(port: number): string {
  return CONNECT + port.toString(16).padStart(4, '0')
}

function socketReadBy({ onread }: ReusedReader): Socket {
  const options = { allowHalfOpen: true, onread }
  return new Socket(options)
}

/** A relay as the server makes it: the client accepted, the target dialed with a reader. */
async function startFastRelay() {
  const target = await startTarget()
  cleanup(() => target.close())
  const door = createServer({ allowHalfOpen: true, noDelay: true })
  door.listen(0, '127.0.0.1')
  await once(door, 'listening')
  const address = door.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const client = connect({ port: address.port, host: '127.0.0.1' })
  const [accepted] = await once(door, 'connection')
  if (!(accepted instanceof Socket)) throw new Error('no socket')
  const reader = new ReusedReader()
  reader.use()
  const dialed = socketReadBy(reader)
  dialed.connect({ port: target.port, host: '127.0.0.1' })
  const far = await target.connection()
  far.setNoDelay(true)
  const relay = new Relay(accepted, dialed, {}, { reader })
  cleanup(() => {
    relay.destroy()
    client.destroy()
    door.close()
  })
  return { relay, accepted, client, far }
}

for (const fastRelay of [true, false]) {
  test(`of a client that is reset, what waited for it does not count as sent (fastRelay: ${fastRelay})`, async () => {
    const fixture = await startServer({ fastRelay })
    const target = await startTarget((socket) => socket.write(Buffer.alloc(32_000_000)))
    cleanup(() => target.close())
    const client = await fixture.client()
    client.stream.pause()
    client.write(requestFor(target.port))
    await once(fixture.server, 'established')
    // Until nothing more fits anywhere: the last write is under way, and counted while it is.
    let before = -1
    while (before !== fixture.server.stats().bytesDown || before === 0) {
      before = fixture.server.stats().bytesDown
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const closed = fixture.closed()
    client.reset()
    const { reason, bytesDown } = await closed
    expect(reason).toBe('reset')
    expect(bytesDown).toBeLessThan(before)
    expect(fixture.server.stats().bytesDown).toBe(bytesDown)
  })
}

test('small pieces that wait for a client keep no large buffer each', async () => {
  const { relay, accepted, client, far } = await startFastRelay()
  // More than a small buffer: reads go into a large one from here on.
  far.write(Buffer.alloc(2_000, 1))
  await vi.waitFor(() => expect(relay.bytesDown).toBe(2_000))
  // As if the client took nothing any more.
  accepted.cork()
  const buffers = new Set<ArrayBufferLike>()
  const write = accepted.write.bind(accepted)
  vi.spyOn(accepted, 'write').mockImplementation((chunk: unknown) => {
    if (chunk instanceof Uint8Array) buffers.add(chunk.buffer)
    return write(chunk as Uint8Array) // what the relay writes
  })
  for (let piece = 1; piece <= 20; piece++) {
    far.write(Buffer.alloc(10, piece))
    await vi.waitFor(() => expect(relay.bytesDown).toBe(2_000 + 10 * piece))
  }
  let kept = 0
  for (const { byteLength } of buffers) kept += byteLength
  expect(kept).toBeLessThan(600_000)
  // And nothing of it was written over.
  const received: Buffer[] = []
  client.on('data', (chunk: Buffer) => received.push(chunk))
  accepted.uncork()
  far.end()
  await once(client, 'end')
  const expected = [Buffer.alloc(2_000, 1), ...Array.from({ length: 20 }, (_, index) => Buffer.alloc(10, index + 1))]
  expect(Buffer.concat(received).equals(Buffer.concat(expected))).toBe(true)
})

test('what was read before anybody listened is not written over by the next read', async () => {
  const target = await startTarget()
  cleanup(() => target.close())
  const reader = new ReusedReader()
  const socket = socketReadBy(reader)
  cleanup(() => socket.destroy())
  socket.connect({ port: target.port, host: '127.0.0.1' })
  const far = await target.connection()
  far.write(Buffer.alloc(100, 1))
  await vi.waitFor(() => expect(socket.bytesRead).toBe(100))
  const chunks: Uint8Array[] = []
  reader.start(socket, {
    onRead: (chunk) => {
      chunks.push(chunk)
      return 'kept'
    },
  })
  far.write(Buffer.alloc(100, 2))
  await vi.waitFor(() => expect(chunks.length).toBe(2))
  expect(chunks[0]).toEqual(new Uint8Array(100).fill(1))
})

test('what is written after a write that has failed does not count as sent', async () => {
  const source = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  let writes = 0
  const sink = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => done(++writes === 2 ? new Error('gone') : null),
  })
  // All of them in one turn: the error is told in the next.
  const early = [100, 200, 300].map((length) => Buffer.alloc(length))
  const relay = new Relay(source, sink, {}, { early })
  expect(await relay.closed).toMatchObject({ reason: 'reset', error: { message: 'gone' } })
  expect(relay.bytesUp).toBe(100)
})
