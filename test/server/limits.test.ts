import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { type ClosedInfo, createSocksServer, type DeniedInfo, userPass } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import {
  connectRequest,
  credentials,
  GREETING_NO_AUTH,
  GREETING_USER_PASS,
  hex,
  RawClient,
} from '../support/raw-client.js'
import { cleanup, type Fixture, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

const STALLED = 2_000

/** Everything that was denied and closed, as it comes. */
function watch({ server }: Fixture) {
  const denied: DeniedInfo[] = []
  const closed: ClosedInfo[] = []
  server.on('denied', (info) => denied.push(info))
  server.on('closed', (info) => closed.push(info))
  return { denied, closed }
}

async function echoServer() {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

/** Whether a client of now gets through to a target. */
async function isServed(fixture: Fixture, target: { port: number }, localAddress?: string): Promise<boolean> {
  const client = await RawClient.connect(fixture.port, localAddress === undefined ? {} : { localAddress })
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port), Buffer.from('hello')]))
  client.end()
  const answer = await client.readToEnd()
  client.stream.destroy()
  return answer.subarray(12).toString() === 'hello'
}

describe('limits', () => {
  it('maxConnections: one more is closed at once, denied by name, and a place that is given back is taken', async () => {
    const echo = await echoServer()
    const fixture = await startServer({ maxConnections: 2 })
    const told = watch(fixture)
    const first = await fixture.client()
    await first.send(GREETING_NO_AUTH)
    await first.read(2)
    const second = await fixture.client()
    await second.send(GREETING_NO_AUTH)
    await second.read(2)
    const third = await fixture.client()
    await third.readToEnd()
    expect(told.denied).toMatchObject([{ rule: 'maxConnections', error: { code: 'ERR_SOCKS_LIMIT' } }])
    expect(told.closed).toMatchObject([{ reason: 'limit' }])
    const closing = fixture.closed()
    first.stream.destroy()
    await closing
    expect(await isServed(fixture, echo)).toBe(true)
  })

  it('maxConnectionsPerClient counts each address by itself, however it ends', async () => {
    const echo = await echoServer()
    const fixture = await startServer({ maxConnectionsPerClient: 1 })
    const told = watch(fixture)
    for (let round = 0; round < 3; round++) {
      const first = await fixture.client()
      await first.send(GREETING_NO_AUTH)
      await first.read(2)
      const second = await fixture.client()
      await second.readToEnd()
      expect(await isServed(fixture, echo, '127.0.0.2')).toBe(true)
      const before = told.closed.length
      if (round === 0) first.reset()
      else first.end()
      await settlesAt(() => told.closed.length, before + 1)
    }
    expect(told.denied.map(({ rule }) => rule)).toEqual(Array.from({ length: 3 }, () => 'maxConnectionsPerClient'))
    expect(await isServed(fixture, echo)).toBe(true)
  })

  it('streams without an address are not counted together', () => {
    const server = createSocksServer({ maxConnectionsPerClient: 1 })
    cleanup(() => server.close({ graceMs: 0 }))
    const streams = Array.from({ length: 3 }, () => duplexPair())
    for (const [near] of streams) server.handle(near)
    expect(server.stats().connections).toBe(3)
    expect(streams.every(([near]) => !near.destroyed)).toBe(true)
  })

  it('maxHandshakes: the oldest unfinished handshake goes, never the newcomer, and never one that has asked', async () => {
    const echo = await echoServer()
    const fixture = await startServer({ maxHandshakes: 2 })
    const told = watch(fixture)
    const tunnel = await fixture.client()
    tunnel.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]))
    await tunnel.read(12)
    const stalled: RawClient[] = []
    for (let index = 0; index < 3; index++) {
      const client = await fixture.client()
      await client.send(GREETING_NO_AUTH)
      await client.read(2)
      stalled.push(client)
    }
    await stalled[0]?.readToEnd()
    expect(told.closed).toMatchObject([{ reason: 'limit', error: { code: 'ERR_SOCKS_LIMIT', rule: 'maxHandshakes' } }])
    expect(fixture.server.stats()).toMatchObject({ connections: 3, handshakes: 2, tunnels: 1 })
    tunnel.write(Buffer.from('still here'))
    expect(Buffer.from(await tunnel.read(10), 'hex').toString()).toBe('still here')
    expect(await isServed(fixture, echo)).toBe(true)
  })

  it.each([0, -1, 1.5, Number.NaN, '5', null])('a limit of %s is refused', (value) => {
    for (const name of ['maxConnections', 'maxConnectionsPerClient', 'maxHandshakes']) {
      expect(() => createSocksServer({ [name]: value })).toThrow(RangeError)
    }
  })

  it('authFailureDelayMs holds back the failing answer alone, and nothing outlives the client', async () => {
    const fixture = await startServer({ auth: userPass({ u: 'p' }), authFailureDelayMs: 60_000 })
    const failing = await fixture.client()
    const closing = fixture.closed()
    failing.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'wrong')]))
    expect(await failing.read(2)).toBe('0502')
    // A correct login of the same address is answered while the other one waits.
    const good = await fixture.client()
    good.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p')]))
    expect(await good.read(4)).toBe('05020100')
    expect(fixture.server.stats().connections).toBe(2)
    failing.reset()
    expect(await closing).toMatchObject({ reason: 'auth-failed' })
  })

  it('authFailureDelayMs: the answer does come, and close() does not wait for it', async () => {
    const soon = await startServer({ auth: userPass({ u: 'p' }), authFailureDelayMs: 30 })
    const failing = await soon.client()
    failing.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'wrong')]))
    expect((await failing.readToEnd()).toString('hex')).toBe('05020101')
    failing.end()

    const late = await startServer({ auth: userPass({ u: 'p' }), authFailureDelayMs: 60_000 })
    const waiting = await late.client()
    waiting.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'wrong')]))
    expect(await waiting.read(2)).toBe('0502')
    await settlesAt(() => late.server.stats().denied, 1)
    await late.server.close({ graceMs: 60_000 })
    expect((await waiting.readToEnd()).length).toBe(0)
  })

  it('idleTimeoutMs ends a tunnel that is silent both ways, and a byte either way keeps it', async () => {
    const echo = await echoServer()
    const fixture = await startServer({ idleTimeoutMs: 150 })
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]))
    await client.read(12)
    // One byte at a time, each as the answer to the one before: three times the limit in all, no gap as long as it.
    const until = performance.now() + 450
    while (performance.now() < until) {
      client.write('aa')
      expect(await client.read(1)).toBe('aa')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    // S85: nothing of SOCKS is said at the end.
    expect((await client.readToEnd()).length).toBe(0)
    expect(await closing).toMatchObject({ reason: 'idle-timeout' })
  })
})

describe('under attack', () => {
  it('a client that floods before it is authenticated is held by backpressure', async () => {
    const verdict = deferred<boolean>()
    const fixture = await startServer({ auth: userPass(() => verdict.promise), handshakeTimeoutMs: 0 })
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p')]))
    await client.read(2)
    const socket = client.stream as Socket // of RawClient.connect
    let isStuck = false
    const flood = Buffer.alloc(1_048_576, 'x')
    for (let round = 0; round < 64 && !isStuck; round++) {
      const isFlushed = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), 1_000)
        socket.write(flood, () => {
          clearTimeout(timer)
          resolve(true)
        })
      })
      isStuck = !isFlushed
    }
    expect(isStuck, 'the server has taken 64 MiB that nobody asked for').toBe(true)
    verdict.resolve(false)
    // Refused at last; what was flooded is thrown away, within bounds.
    expect(await client.read(2)).toBe('0101')
    socket.destroy()
  })

  it(`${STALLED} stalled handshakes and a storm of connects: a normal client is served, and nothing is left`, {
    timeout: 120_000,
  }, async () => {
    const echo = await echoServer()
    const fixture = await startServer({ maxHandshakes: 500, handshakeTimeoutMs: 60_000 })
    expect(await isServed(fixture, echo)).toBe(true)
    const collect = globalThis.gc
    if (collect === undefined) throw new Error('run with --expose-gc')
    collect()
    const before = { descriptors: await settlesAt(descriptors, descriptors()), heap: process.memoryUsage().heapUsed }
    const stalled: Socket[] = []
    for (let index = 0; index < STALLED; index++) {
      const socket = connect({ port: fixture.port, host: '127.0.0.1' })
      socket.on('error', () => {})
      await once(socket, 'connect')
      // A byte, a greeting, or nothing at all.
      if (index % 3 === 1) socket.write(Uint8Array.of(5))
      if (index % 3 === 2) socket.write(GREETING_NO_AUTH)
      stalled.push(socket)
      if (index % 200 === 0) expect(await isServed(fixture, echo)).toBe(true)
    }
    expect(await isServed(fixture, echo)).toBe(true)
    expect(fixture.server.stats().handshakes).toBeLessThanOrEqual(500)
    const storm = Array.from({ length: 300 }, () => isServed(fixture, echo))
    expect((await Promise.all(storm)).every(Boolean)).toBe(true)
    for (const socket of stalled.splice(0)) socket.destroy()
    await settlesAt(() => fixture.server.stats().connections, 0)
    collect()
    const after = {
      descriptors: await settlesAt(descriptors, before.descriptors),
      heap: process.memoryUsage().heapUsed,
    }
    console.log(`${STALLED} stalled handshakes: before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`)
    expect(after.descriptors).toBe(before.descriptors)
    expect(fixture.server.stats()).toMatchObject({ connections: 0, handshakes: 0, tunnels: 0 })
    expect(after.heap - before.heap).toBeLessThan(4_000_000)
  })

  it('a dial that succeeds after the client has reset ends where nobody waits', async () => {
    const dialing = deferred()
    const dialed = deferred<ReturnType<typeof duplexPair>[0]>()
    const fixture = await startServer({
      dial: () => {
        dialing.resolve()
        return dialed.promise
      },
    })
    const client = await fixture.client()
    const closing = fixture.closed()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
    await dialing.promise
    client.reset()
    expect(await closing).toMatchObject({ reason: 'aborted' })
    const [late] = duplexPair()
    dialed.resolve(late)
    await once(late, 'close')
  })

  it('a target that resets in the middle of a tunnel resets the client, and says so', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const fixture = await startServer()
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    await client.read(12)
    const socket = await target.connection()
    client.write(hex('01'))
    await once(socket, 'data')
    socket.resetAndDestroy()
    expect(await client.closed).toMatchObject({ code: 'ECONNRESET' })
    expect(await closing).toMatchObject({ reason: 'reset', error: { code: 'ECONNRESET' } })
  })
})
