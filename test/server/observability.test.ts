import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { authorize, createSocksServer, egress, type SocksServer, userPass } from '../../src/server/index.js'
import { requestBind } from '../support/bind-client.js'
import { settlesAt } from '../support/descriptors.js'
import {
  connectRequest,
  credentials,
  GREETING_NO_AUTH,
  GREETING_USER_PASS,
  hex,
  RawClient,
} from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

const EVENTS = ['session', 'request', 'listening', 'established', 'denied', 'closed', 'error'] as const

/** What is published about a server, as `name: message`, until the test is over. */
function published(): { name: string; message: Record<string, unknown> }[] {
  const messages: { name: string; message: Record<string, unknown> }[] = []
  for (const name of EVENTS) {
    // `as`: messages of a channel are of type unknown.
    const listener = (message: unknown) => messages.push({ name, message: message as Record<string, unknown> })
    subscribe(`tubesock:${name}`, listener)
    cleanup(() => unsubscribe(`tubesock:${name}`, listener))
  }
  return messages
}

function names(server: SocksServer): string[] {
  const told: string[] = []
  for (const name of EVENTS) server.on(name, () => told.push(name))
  return told
}

describe('events', () => {
  it('tell of a tunnel in order, and the same through diagnostics_channel with the server that it is of', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const messages = published()
    const fixture = await startServer({ auth: userPass({ alice: 'secret-password' }), egress: egress.any() })
    const told = names(fixture.server)
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('alice', 'secret-password')]))
    client.write(Buffer.concat([connectRequest('127.0.0.1', echo.port), Buffer.from('0123456789')]))
    client.end()
    await client.readToEnd()
    const closed = await closing
    expect(told).toEqual(['session', 'request', 'established', 'closed'])
    const mine = messages.filter(({ message }) => message.server === fixture.server)
    expect(mine.map(({ name }) => name)).toEqual(told)
    expect(mine[2]?.message).toMatchObject({
      command: 'connect',
      identity: { username: 'alice' },
      rules: ['egress any'],
    })
    expect(mine[3]?.message).toMatchObject({ reason: 'end', bytesUp: 10, bytesDown: 10 })
    expect(closed.durationMs).toBeGreaterThan(0)
    expect(JSON.stringify(mine.map(({ message }) => ({ ...message, server: undefined })))).not.toContain(
      'secret-password',
    )
  })

  it('a denial is one event with the rule that made it', async () => {
    const cases = [
      [{ authorize: authorize.allow(['*.example.com:443']) }, 'example.com', 443, 'authorize allow'],
      [{ authorize: authorize.deny(['10.0.0.0/8']) }, '10.1.2.3', 80, 'authorize deny 10.0.0.0/8'],
      [
        {
          authorize: function office() {
            return false
          },
        },
        'example.com',
        80,
        'authorize office',
      ],
      [
        {
          authorize: () => {
            throw new Error('x')
          },
        },
        'example.com',
        80,
        'authorize hook',
      ],
      [{ egress: egress.publicOnly() }, '127.0.0.1', 80, 'egress publicOnly'],
      [{ egress: egress.allow(['192.0.2.1:80']) }, '192.0.2.1', 81, 'egress allow'],
      [
        {
          egress: () => {
            throw new Error('x')
          },
        },
        '192.0.2.1',
        81,
        'egress hook',
      ],
    ] as const
    for (const [options, host, port, rule] of cases) {
      const fixture = await startServer(options)
      const denials: string[] = []
      fixture.server.on('denied', (info) => denials.push(info.rule, info.error.rule ?? ''))
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest(host, port)]))
      client.end()
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0502')
      expect(denials, rule).toEqual([rule, rule])
    }
  })

  it('tells what the commands, the methods, the password and the loop guard refuse by their names', async () => {
    const fixture = await startServer({ auth: userPass({ u: 'p' }) })
    const rules: string[] = []
    fixture.server.on('denied', ({ rule }) => rules.push(rule))
    const say = async (...parts: Uint8Array[]) => {
      const client = await fixture.client()
      client.write(Buffer.concat(parts))
      client.end()
      await client.readToEnd()
    }
    const login = [GREETING_USER_PASS, credentials('u', 'p')]
    await say(GREETING_NO_AUTH)
    await say(GREETING_USER_PASS, credentials('u', 'x'))
    await say(...login, connectRequest('127.0.0.1', 1, 2))
    await say(...login, connectRequest('127.0.0.1', fixture.port))
    expect(rules).toEqual(['auth', 'auth', 'commands', 'loop guard'])
  })

  it('tell which rules have admitted a tunnel', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const rules = [`127.0.0.0/8:${echo.port}`]
    const fixture = await startServer({ authorize: authorize.allow(rules), egress: egress.allow(rules) })
    const established = once(fixture.server, 'established')
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]))
    const [info] = await established
    expect(info.rules).toEqual([`authorize allow ${rules[0]}`, `egress allow ${rules[0]}`])
  })

  it('a channel with nobody on it costs no message, and one that throws ends nothing', async () => {
    const caught: unknown[] = []
    const onUncaught = (error: unknown) => caught.push(error)
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', onUncaught)
    cleanup(() => {
      process.removeListener('uncaughtException', onUncaught)
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    const broken = () => {
      throw new Error('a broken subscriber')
    }
    subscribe('tubesock:session', broken)
    cleanup(() => unsubscribe('tubesock:session', broken))
    const fixture = await startServer()
    const client = await fixture.client()
    client.write(GREETING_NO_AUTH)
    expect(await client.read(2)).toBe('0500')
    expect(caught).toMatchObject([{ message: 'a broken subscriber' }])
  })
})

describe('stats', () => {
  it('count what is going on and what has been', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const fixture = await startServer({ commands: ['connect', 'bind'] })
    const { server } = fixture
    expect(server.stats()).toEqual({
      connections: 0,
      handshakes: 0,
      listening: 0,
      associations: 0,
      tunnels: 0,
      accepted: 0,
      established: 0,
      denied: 0,
      failed: 0,
      bytesUp: 0,
      bytesDown: 0,
    })
    const stalled = await fixture.client()
    await stalled.send(GREETING_NO_AUTH)
    await stalled.read(2)
    const tunnel = await fixture.client()
    tunnel.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('abc')]))
    await tunnel.read(15)
    const waiting = await requestBind(fixture)
    expect(server.stats()).toMatchObject({
      connections: 3,
      handshakes: 1,
      listening: 1,
      tunnels: 1,
      accepted: 3,
      established: 1,
      bytesUp: 3,
      bytesDown: 3,
    })
    const denied = await fixture.client()
    denied.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', fixture.port)]))
    denied.end()
    await denied.readToEnd()
    for (const { stream } of [stalled, tunnel, waiting.client]) stream.destroy()
    await settlesAt(() => server.stats().connections, 0)
    expect(server.stats()).toMatchObject({
      connections: 0,
      handshakes: 0,
      listening: 0,
      associations: 0,
      tunnels: 0,
      accepted: 4,
      established: 1,
      denied: 1,
      failed: 3,
      bytesUp: 3,
      bytesDown: 3,
    })
  })

  it('bytesUp is what the target received, to the byte, and no more than the system took when it resets in the middle', async () => {
    let received = 0
    const target = await startTarget((socket) => {
      socket.on('data', (chunk) => {
        received += chunk.length
      })
    })
    cleanup(() => target.close())
    const fixture = await startServer()
    for (const size of [0, 1, 65_536, 1_000_003]) {
      received = 0
      const closing = fixture.closed()
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port), Buffer.alloc(size)]))
      client.end()
      const socket = await target.connection()
      await once(socket, 'end')
      socket.end()
      await client.readToEnd()
      const { bytesUp } = await closing
      expect([bytesUp, received]).toEqual([size, size])
    }
    // A target that does not read: what is handed to the system is counted, what waits in the process is not.
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    await client.read(12)
    const socket = await target.connection()
    socket.pause()
    const sent = 40_000_000
    client.stream.on('error', () => {})
    client.stream.write(Buffer.alloc(sent))
    // The system's buffers fill until nothing moves any more.
    let moved = -1
    while (moved !== fixture.server.stats().bytesUp) {
      moved = fixture.server.stats().bytesUp
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    socket.resetAndDestroy()
    const { bytesUp } = await closing
    expect(bytesUp).toBeLessThan(sent)
    expect(bytesUp).toBeGreaterThan(0)
  })
})

describe('hooks', () => {
  it('two servers that share one way out share its rules, and each tells its own events', async () => {
    const first = await startServer({ egress: egress.publicOnly() })
    const second = createSocksServer({ outbound: first.server.outbound })
    cleanup(() => second.close({ graceMs: 0 }))
    const { port } = await second.listen(0)
    const denied = once(second, 'denied')
    const client = await RawClient.connect(port)
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
    client.end()
    expect((await client.readToEnd()).subarray(2, 4)).toEqual(hex('0502'))
    expect((await denied)[0].rule).toBe('egress publicOnly')
    expect([first.server.stats().denied, second.stats().denied]).toEqual([0, 1])
  })
})
