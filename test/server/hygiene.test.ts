import { EventEmitter, once } from 'node:events'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { type ServerOptions, type SocksServer, userPass } from '../../src/server/index.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { connectRequest, credentials, GREETING_NO_AUTH, GREETING_USER_PASS, RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort, startEcho, startTarget } from '../support/targets.js'

const ROUNDS = 200

/** Resolves when `count` connections of the server have been closed. */
function closings(server: SocksServer, count: number): Promise<void> {
  return new Promise((resolve) => {
    let left = count
    server.on('closed', () => {
      left--
      if (left === 0) resolve()
    })
  })
}

interface Failure {
  readonly options?: ServerOptions
  run(client: RawClient): Promise<void>
}

async function failures(): Promise<Readonly<Record<string, Failure>>> {
  const refused = await refusedPort()
  const finish = async (client: RawClient): Promise<void> => {
    await client.readToEnd()
    client.end()
  }
  return {
    refused: {
      run: (client) => {
        client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', refused)]))
        return finish(client)
      },
    },
    'dial timeout': {
      options: { dial: () => new Promise<never>(() => {}), dialTimeoutMs: 20 },
      run: (client) => {
        client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
        return finish(client)
      },
    },
    'client reset while dialing': {
      options: { dial: () => new Promise<never>(() => {}) },
      run: async (client) => {
        client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
        await client.read(2)
        client.reset()
      },
    },
    'auth failure': {
      options: { auth: userPass({ u: 'p' }) },
      run: (client) => {
        client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'x')]))
        return finish(client)
      },
    },
    'rule denial': {
      options: { authorize: () => false },
      run: (client) => {
        client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
        return finish(client)
      },
    },
    garbage: {
      run: (client) => {
        client.write(Buffer.alloc(1000, 0xff))
        return finish(client)
      },
    },
    'handshake timeout': {
      options: { handshakeTimeoutMs: 20 },
      run: (client) => {
        client.write('05')
        return finish(client)
      },
    },
  }
}

/** Both ends of a tunnel that stays open beside what happens. */
async function longLivedTunnel(): Promise<EventEmitter[]> {
  const target = await startTarget()
  cleanup(() => target.close())
  const { client: connect } = await startServer()
  const client = await connect()
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
  await client.read(12)
  return [client.stream, await target.connection()]
}

/** Listeners of all events of some emitters and of the process. */
function listeners(emitters: readonly EventEmitter[]): number {
  return [...emitters, process]
    .flatMap((emitter) => emitter.eventNames().map((name) => emitter.listenerCount(name)))
    .reduce((sum, count) => sum + count, 0)
}

describe('nothing is left behind', () => {
  it.each([
    'refused',
    'dial timeout',
    'client reset while dialing',
    'auth failure',
    'rule denial',
    'garbage',
    'handshake timeout',
  ])(`${ROUNDS} connections that end with: %s`, async (kind) => {
    const failure = (await failures())[kind]
    if (failure === undefined) throw new Error('no such failure')
    const longLived = await longLivedTunnel()
    const { server, port } = await startServer(failure.options)
    const before = { descriptors: descriptors(), listeners: listeners(longLived) }
    const closed = closings(server, ROUNDS)
    for (let round = 0; round < ROUNDS; round += 20) {
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(port)))
      await Promise.all(clients.map((client) => failure.run(client)))
      await Promise.all(clients.map((client) => client.closed))
    }
    await closed
    const after = { descriptors: await settlesAt(descriptors, before.descriptors), listeners: listeners(longLived) }
    console.log(`${ROUNDS} x ${kind}: before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`)
    expect(after).toEqual(before)
  })

  it('the signal and the server that outlive connections gather no listeners', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server, client: connect } = await startServer({ auth: userPass(() => true) })
    const controller = new AbortController()
    const counts = (): number[] => [
      ...server.eventNames().map((name) => server.listenerCount(name)),
      process.listenerCount('uncaughtException'),
      process.listenerCount('exit'),
    ]
    const before = counts()
    for (let round = 0; round < 50; round++) {
      const { stream } = await server.outbound.connect({
        host: '127.0.0.1',
        port: echo.port,
        clientAddress: '127.0.0.1',
        signal: controller.signal,
      })
      stream.destroy()
      await server.outbound.connect({ host: 'a..b', port: 1, signal: controller.signal }).catch(() => {})
      const client = await connect()
      client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p'), connectRequest('127.0.0.1', echo.port)]))
      client.end()
      await client.readToEnd()
    }
    expect(counts()).toEqual(before)
    expect(EventEmitter.getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  it('a stream that a failed handshake leaves keeps one guard listener for errors and no more', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { server } = await startServer({ authorize: ({ port }) => port === target.port })
    const dialed: EventEmitter[] = []
    for (const port of [9, target.port]) {
      const [near, far] = duplexPair()
      const client = new RawClient(far)
      server.handle(near, { clientAddress: '127.0.0.1' })
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', port)]))
      await client.read(12)
      client.end()
      if (port === target.port) (await target.connection()).end()
      if (!near.closed) await once(near, 'close')
      dialed.push(near)
    }
    for (const stream of dialed) {
      for (const name of ['readable', 'data', 'drain']) expect(stream.listenerCount(name), name).toBeLessThanOrEqual(1)
      stream.emit('error', new Error('late'))
    }
  })
})

describe('splits', () => {
  const PAYLOAD = 'the payload, once and in order'

  async function converse(
    send: (client: RawClient, bytes: Buffer) => Promise<void>,
    fixture: { port: number },
    port: number,
  ) {
    const client = await RawClient.connect(fixture.port)
    const bytes = Buffer.concat([
      GREETING_USER_PASS,
      credentials('user', 'pass'),
      connectRequest('localhost', port),
      Buffer.from(PAYLOAD),
    ])
    await send(client, bytes)
    client.end()
    const answer = await client.readToEnd()
    expect(answer.subarray(0, 8).toString('hex')).toBe('0502010005000001')
    expect(answer.subarray(14).toString()).toBe(PAYLOAD)
    return bytes.length
  }

  it('S31 S37 S38 S39 every split point into two segments, byte by byte, and all in one: the same result', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const fixture = await startServer({ auth: userPass(async (user, pass) => user === 'user' && pass === 'pass') })
    const length = await converse((client, bytes) => client.send(bytes), fixture, echo.port)
    const points = Array.from({ length: length - 1 }, (_, index) => index + 1)
    for (const group of [points.slice(0, 20), points.slice(20, 40), points.slice(40)]) {
      const inTwo = group.map((point) =>
        converse(
          async (client, bytes) => {
            await client.send(bytes.subarray(0, point))
            await client.send(bytes.subarray(point))
          },
          fixture,
          echo.port,
        ),
      )
      await Promise.all(inTwo)
    }
    await converse(
      async (client, bytes) => {
        for (const byte of bytes) await client.send(Uint8Array.of(byte))
      },
      fixture,
      echo.port,
    )
    expect(fixture.errors).toEqual([])
    console.log(`splits: ${length - 1} split points in two, byte by byte, all in one`)
  })
})
